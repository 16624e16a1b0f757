"""Renders chats with transformers, for tests/data/chat_test.py.

  PYTHONPATH=. python tools/make_chat_goldens.py

The templates are ours, written after those of well-known models: what they use
of Jinja is what those use. Rerun it when transformers changes what templates
may use, or when a template is added; transformers 5.23 made the present file.
"""

# ruff: noqa: E501

import json
import pathlib

import tokenizers
import transformers

OUTPUT = pathlib.Path(__file__).parent.parent / 'tests/data/goldens/chats.json'

# ChatML after Qwen2.5: a default system turn, whitespace control.
CHATML = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) or message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- tools | tojson }}
{%- endif %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# After Llama 3: BOS by the template, trimmed contents, `set` in a loop.
HEADERS = """\
{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

# After Gemma: no system role, roles must alternate, assistant is model.
TURNS = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}"""

# After Llama 2 and Mistral: system text inside the first user turn.
INST = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- bos_token + "[INST] <<SYS>>\\n" + system_message + "\\n<</SYS>>\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- bos_token + "[INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- else %}
        {%- set ns.index = ns.index + 1 %}
        {{- " " + message["content"] + " " + eos_token }}
    {%- endif %}
{%- endfor %}
"""

# What newer templates use: loop controls, generation marks, string methods,
# JSON of text that HTML would escape, blocks on lines of their own.
FEATURES = """\
{% macro header(role) -%}
<|{{ role | upper }}|>
{%- endmacro %}
{% for message in messages %}
  {% if message.role == 'tool' %}
    {% continue %}
  {% endif %}
  {% if loop.index > 4 %}
    {% break %}
  {% endif %}
{{ header(message.role) }}
  {% if message.role == 'assistant' %}
  {% generation %}
  {% set said = message.content.split('</think>')[-1].lstrip('\\n') %}
{{ said }}{{ eos_token }}
  {% endgeneration %}
  {% else %}
{{ message | tojson }}
{{ message.content | length }} {{ message.content.strip().startswith('W') }}
  {% endif %}
{% endfor %}
{% if documents is none and not (undefined_thing is defined) %}
done {{ {'b': 1, 'a': '<é>'} | tojson(indent=2, sort_keys=true) }}
{% endif %}
"""

TEMPLATES = {
  'chatml': CHATML,
  'headers': HEADERS,
  'turns': TURNS,
  'inst': INST,
  'features': FEATURES,
}
CHATS = [
  [('user', 'Why is the sky blue?')],
  [('system', 'Be <b>brief</b> & kind.'), ('user', ' What?\n')],
  [
    ('user', 'Hi «é» 😀'),
    ('assistant', '<think>hm</think>\n\nHello. '),
    ('user', '{{ 7 * 7 }} {% raw %}'),
  ],
  [('user', 'a'), ('user', 'b')],
  [('user', ''), ('assistant', 'x\ty'), ('user', 'z'), ('assistant', 'end')],
]


def main() -> None:
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()),
    bos_token='<s>',
    eos_token='</s>',
  )
  cases = []
  for name, template in TEMPLATES.items():
    for turns in CHATS:
      for add_generation_prompt in (False, True):
        try:
          rendered = tokenizer.apply_chat_template(
            [{'role': role, 'content': content} for role, content in turns],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
          )
        except Exception as error:
          rendered, failure = None, str(error)
        else:
          failure = None
        cases.append(
          {
            'template': name,
            'turns': turns,
            'add_generation_prompt': add_generation_prompt,
            'rendered': rendered,
            'failure': failure,
          }
        )
  OUTPUT.parent.mkdir(exist_ok=True)
  OUTPUT.write_text(
    json.dumps(
      {
        'transformers': transformers.__version__,
        'templates': TEMPLATES,
        'cases': cases,
      },
      indent=1,
    )
    + '\n'
  )
  print(f'{OUTPUT}: {len(cases)} chats')


if __name__ == '__main__':
  main()
