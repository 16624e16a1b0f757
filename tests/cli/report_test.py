"""`jaxcurate report` through the command line."""


def test_page_of_a_score_table(run, scores, tmp_path):
  output = tmp_path / 'report'
  result = run(
    'report', f'--input={scores}', f'--output={output}', '--title=What <we> saw'
  )
  assert result.code == 0, result.err
  page = (output / 'report.html').read_text()
  assert 'What &lt;we&gt; saw' in page
  assert 'ask_llm' in page
  assert f'{output}/report.html: open it in a browser' in result.out


def test_nothing_to_report_on(run, tmp_path, fails_clearly):
  result = run('report', f'--output={tmp_path / "report"}')
  assert fails_clearly(result, 'give --input=FOLDER')
  result = run('report', '--input=none', f'--output={tmp_path / "report"}')
  assert fails_clearly(result, 'none')
