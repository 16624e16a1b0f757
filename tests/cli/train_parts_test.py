"""What `train` says before it starts."""

import pytest

from jaxcurate.cli import train_parts
from jaxcurate.data import row_shape
from jaxcurate.models import decoder, load
from jaxcurate.train.gradient_settings import GradientSettings
from jaxcurate.weightings import greats, uniform


@pytest.mark.parametrize(
  'remat, way, chosen',
  [
    (False, 'auto', 'keep_factors'),
    (True, 'auto', 'second_pass'),
    (True, 'keep_factors', 'keep_factors'),
  ],
)
def test_both_ways_to_gradients_are_told(capsys, remat, way, chosen):
  config = decoder.DecoderConfig(
    vocab_size=64, embed_dim=16, num_heads=2, num_kv_heads=2, head_dim=8,
    mlp_dim=32, num_layers=8, tied_head=True, scan_layers=remat, remat=remat,
  )  # fmt: skip
  start = load.LoadedModel(decoder.make_network(config), {}, config, 'bytes')
  rows = row_shape.settings_for(start.network, length=64, max_segments=2)
  for weighting in (uniform.make(), greats.make()):
    train_parts.announce_gradients(
      weighting, start, None, GradientSettings(way), rows, 32, 1, 256
    )
  said = capsys.readouterr().out
  assert said.count('\n') == 1  # uniform weights look at no gradient
  assert said.startswith(f'gradients of examples by {chosen} (planned: keep')
  assert 'MB, second_pass ' in said
