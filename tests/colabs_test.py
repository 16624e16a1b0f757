"""The notebooks run from top to bottom, as a reader would run them."""

import json
import os
import pathlib
import sys

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parent.parent
COLABS = sorted((ROOT / 'colabs').glob('*.ipynb'))


@pytest.mark.slow
@pytest.mark.parametrize('path', COLABS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
  nbclient = pytest.importorskip('nbclient')
  pytest.importorskip('ipykernel')
  # One device, as a reader has; the kernel is this environment's Python.
  monkeypatch.setenv('XLA_FLAGS', '')
  kernels = tmp_path / 'kernels' / 'this'
  kernels.mkdir(parents=True)
  command = [sys.executable, '-m', 'ipykernel_launcher', '-f']
  spec = {
    'argv': [*command, '{connection_file}'],
    'display_name': 'this',
    'language': 'python',
  }
  (kernels / 'kernel.json').write_text(json.dumps(spec))
  monkeypatch.setenv('JUPYTER_PATH', str(tmp_path))
  notebook = nbformat.read(path, as_version=4)
  client = nbclient.NotebookClient(
    notebook,
    timeout=300,
    kernel_name='this',
    resources={'metadata': {'path': str(tmp_path)}},
  )
  client.execute()
  text = ''.join(
    output.get('text', '')
    for cell in notebook.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
  )
  assert 'kept 75 of 150 documents' in text
  assert 'step  20' in text
  assert 'report/report.html' in text
  assert 'jaxcurate: ' not in text  # no command failed
  assert os.path.getsize(tmp_path / 'report' / 'report.html') > 10_000
