"""Documents that two tokenized corpora have in common."""

import numpy as np

from jaxcurate.data.token_part import TokenPart, document_tokens, num_documents


def count_shared(part: TokenPart, other: TokenPart) -> int:
  """How many documents of `part` are, token for token, in `other` too.

  Args:
    part: of any size: only documents as long as one of `other` are read.
    other: small, by the same vocabulary.
  """
  known = {
    document_tokens(other, document).tobytes()
    for document in range(num_documents(other))
  }
  lengths = np.diff(part.offsets)
  alike = np.flatnonzero(np.isin(lengths, np.unique(np.diff(other.offsets))))
  return sum(
    document_tokens(part, document).tobytes() in known for document in alike
  )
