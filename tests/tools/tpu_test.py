"""The Cloud TPU scripts, run with --dry_run: the exact commands."""

import pathlib
import shlex
import shutil
import subprocess
import sys

import pytest

TPU = pathlib.Path(__file__).parent.parent.parent / 'tools' / 'tpu'
SCRIPTS = sorted(p.name for p in TPU.glob('*.sh') if p.name != 'common.sh')
SETTINGS = {'TPU_NAME': 'curate', 'TPU_ZONE': 'us-x', 'TPU_PROJECT': 'lab'}
WHERE = '--zone=us-x --project=lab'
ARGUMENTS = {
  'launch.sh': ['--', 'score', '--input=gs://b/*.gz'],
  'fetch.sh': ['gs://b/scores', 'here'],
}


def call(name, *args, dry=True, settings=None):
  variables = SETTINGS | {'TPU_TYPE': 'v5litepod-16'}
  variables = variables if settings is None else settings
  return subprocess.run(
    [str(TPU / name), *(['--dry_run'] if dry else []), *args],
    env={'PATH': '/usr/bin:/bin', 'TMPDIR': '/tmp', **variables},
    capture_output=True,
    text=True,
  )


def commands(name, *args, **kwargs):
  """The commands a dry run prints, split into words as a shell would."""
  done = call(name, *args, **kwargs)
  assert done.returncode == 0, done.stderr
  words = shlex.split(done.stdout)
  return words, done.stdout


def test_all_six_scripts_are_there():
  expected = ['create', 'delete', 'fetch', 'follow', 'install', 'launch']
  assert [f'{name}.sh' for name in expected] == SCRIPTS


@pytest.mark.parametrize('name', SCRIPTS)
def test_syntax_help_and_mode(name):
  subprocess.run(['bash', '-n', str(TPU / name)], check=True)
  done = call(name, '-h', dry=False, settings={})
  assert done.returncode == 0
  assert f'{name} [' in done.stdout
  assert 'TPU_NAME' in done.stdout
  assert '#' not in done.stdout


@pytest.mark.parametrize('name', SCRIPTS)
def test_shellcheck_is_clean(name):
  beside = pathlib.Path(sys.executable).parent / 'shellcheck'
  program = beside if beside.exists() else shutil.which('shellcheck')
  if not program:
    pytest.skip('shellcheck is not installed: pip install -e .[dev]')
  subprocess.run([program, '-x', name], cwd=TPU, check=True)


@pytest.mark.parametrize('name', sorted({*SCRIPTS} - {'fetch.sh'}))
@pytest.mark.parametrize('missing', SETTINGS)
def test_missing_variables_are_named(name, missing):
  settings = {k: v for k, v in SETTINGS.items() if k != missing}
  done = call(name, *ARGUMENTS.get(name, []), settings=settings)
  assert done.returncode == 2
  assert done.stdout == ''
  assert f'{missing} is not set; export {missing}=' in done.stderr


def test_create():
  _, text = commands('create.sh')
  assert text == (
    'gcloud compute tpus tpu-vm create curate --accelerator-type=v5litepod-16'
    f' --version=v2-alpha-tpuv5-lite {WHERE}\n'
  )
  assert ' --spot ' in commands('create.sh', '--spot')[1]
  assert 'TPU_TYPE is not set' in call('create.sh', settings=SETTINGS).stderr


def test_install_archives_copies_and_installs_on_all_hosts():
  words, text = commands('install.sh')
  assert text.startswith('git -C ')
  assert 'scp /tmp/jaxcurate.tar.gz curate:jaxcurate.tar.gz' in text
  assert text.count('--worker=all') == 2
  [script] = [w for w in words if w.startswith('--command=')]
  assert ".venv/bin/pip install -q '.[tpu]'" in script
  assert 'apt-get install -qy python3.11 python3.11-venv' in script
  source = script.removeprefix('--command=')
  subprocess.run(['bash', '-n', '-c', source], check=True)


def test_launch_quotes_the_command_for_every_host():
  words, text = commands('launch.sh', '--', 'score', '--input=gs://b/a *.gz')
  assert '--worker=all' in text
  [script] = [w for w in words if w.startswith('--command=')]
  source = script.removeprefix('--command=')
  subprocess.run(['bash', '-n', '-c', source], check=True)
  flags = shlex.split(source)
  assert flags[3:5] == ['score', '--input=gs://b/a *.gz']
  assert source.endswith('> ~/jaxcurate.log 2>&1 < /dev/null &')
  # What follows -- belongs to jaxcurate.
  assert '--dry_run' in commands('launch.sh', '--', 'x', '--dry_run')[1]


def test_launch_without_a_command_is_refused():
  assert 'write -- before' in call('launch.sh', 'score').stderr
  assert 'no jaxcurate command' in call('launch.sh', '--').stderr


def test_follow_and_delete():
  words, text = commands(
    'follow.sh', settings=SETTINGS | {'RUN': 'study', 'WORKER': '3'}
  )
  assert '--worker=3' in text
  assert '--command=tail -n 100 -F ~/study.log' in words
  _, text = commands('delete.sh')
  assert text == f'gcloud compute tpus tpu-vm delete curate --quiet {WHERE}\n'


def test_fetch_from_a_bucket_and_from_a_host():
  _, text = commands('fetch.sh', 'gs://b/scores', 'here', settings={})
  assert text == (
    'mkdir -p here\ngcloud storage rsync --recursive gs://b/scores here\n'
  )
  _, text = commands('fetch.sh', 'run.log', 'here')
  assert 'scp --recurse curate:run.log here --worker=0' in text
  assert 'need two' in call('fetch.sh', 'gs://b').stderr


def test_unknown_arguments_are_refused():
  done = call('create.sh', '--cheap')
  assert done.returncode == 2
  assert 'unknown argument --cheap' in done.stderr


def test_without_dry_run_gcloud_is_called(tmp_path):
  fake = tmp_path / 'gcloud'
  fake.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
  fake.chmod(0o755)
  path = {'PATH': f'{tmp_path}:/usr/bin:/bin'}
  done = call('delete.sh', dry=False, settings=SETTINGS | path)
  assert done.stdout.split() == [
    *'compute tpus tpu-vm delete curate --quiet'.split(),
    *WHERE.split(),
  ]
