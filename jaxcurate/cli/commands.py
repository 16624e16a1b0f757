"""The commands: what each is for, its flags, and an example."""

_CORPUS = (
  'input', 'format', 'task', 'task_module', 'split', 'text_field',
  'id_field', 'domain_field', 'on_bad_row',
)  # fmt: skip
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
  'score': (
    'Scores every document of a corpus with one or several methods.',
    (*_CORPUS, 'output', 'model', 'vocabulary', 'template', 'anchors',
     'targets', 'turns', 'exclude_anchors', 'reference', 'fitted',
     'cascade', 'band', 'by', 'mesh', 'dtype', 'seed'),
  ),
  'sample': (
    'Chooses documents from score tables, within a budget.',
    ('input', 'output', 'by', 'columns', 'budget', 'mixture', 'domains',
     'domain_field', 'threshold', 'exclude', 'seed'),
  ),
  'mix': (
    'Says how much of each domain to train on, from score tables.',
    ('input', 'output', 'by', 'columns', 'domains', 'corpus', 'anchors',
     'format', 'text_field', 'id_field', 'domain_field', 'on_bad_row', 'model',
     'vocabulary', 'steps', 'dtype', 'seed'),
  ),
  'train': (
    'Trains a model on a corpus, weighting every example.',
    (*_CORPUS, 'output', 'model', 'vocabulary', 'selection', 'mixture',
     'domains', 'anchors', 'reference', 'scores', 'targets', 'pairs', 'by',
     'steps', 'schedule_steps', 'eval_input', 'turns', 'mesh', 'dtype', 'seed'),
  ),
  'evaluate': (
    'Held-out loss per document and perplexity per domain of a model,\n'
    'or its results on downstream tasks.',
    (*_CORPUS, 'turns', 'tasks', 'benchmarks', 'run_code', 'output', 'model',
     'vocabulary', 'mesh', 'dtype', 'seed'),
  ),
  'report': (
    'One self-contained page from score, selection and training folders.',
    ('input', 'output', 'title', 'baseline'),
  ),
  'demo': (
    'The whole path on text that is already on this machine.',
    ('output', 'seed'),
  ),
}  # fmt: skip
EXAMPLES = {
  'score': r"""
  jaxcurate score --method=ask_llm --method=density \
    --input='docs/*.jsonl.gz' --output=scores
  jaxcurate score --method=ask_llm --model=hf:google/flan-t5-xl \
    --input='docs/*.jsonl.gz' --cascade=scores --band=0.7,0.9 --output=best""",
  'sample': r"""
  jaxcurate sample --method=inverse_propensity --by=density \
    --input=scores --budget=0.2 --output=kept""",
  'mix': r"""
  jaxcurate mix --method=score_mixture --by=ask_llm --input=scores \
    --output=mixture
  jaxcurate mix --method=quadmix --by=ask_llm,density --input=scores \
    --corpus='docs/*.jsonl.gz' --anchors=target.jsonl --output=mixture
  jaxcurate sample --mixture=mixture --input=scores --budget=1000000t \
    --output=kept""",
  'train': r"""
  jaxcurate train --model=models/tiny.gin --weighting=adapt --steps=1000 \
    --input='docs/*.jsonl.gz' --selection=kept --anchors=good.jsonl \
    --output=model""",
  'evaluate': r"""
  jaxcurate evaluate --model=model/model --input=held_out.jsonl \
    --output=evaluated
  jaxcurate evaluate --model=model/model --tasks=arc_easy,mmlu \
    --benchmarks=benchmarks --output=downstream""",
  'report': r"""
  jaxcurate report --input=scores --input=kept --input=model --output=report""",
  'demo': r"""
  jaxcurate demo""",
}
