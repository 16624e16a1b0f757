from jaxcurate.data import near_duplicates

WORDS = [f'word{i}' for i in range(60)]


def test_the_first_of_equal_texts_stays():
  text = ' '.join(WORDS)
  assert near_duplicates.first_seen([text, text, text]) == [True, False, False]
  loud = text.upper().replace(' ', ', ')
  assert near_duplicates.first_seen([text, loud]) == [True, False]


def test_half_of_the_six_grams_is_the_border():
  # 55 six-grams each; the first k words shared give k - 5 of them.
  text = ' '.join(WORDS)
  for shared, keep in ((32, True), (33, False)):
    other = WORDS[:shared] + [f'new{i}' for i in range(60 - shared)]
    assert near_duplicates.first_seen([text, ' '.join(other)]) == [True, keep]


def test_order_of_words_counts():
  texts = [' '.join(WORDS), ' '.join(reversed(WORDS))]
  assert near_duplicates.first_seen(texts) == [True, True]


def test_what_a_dropped_text_says_is_not_remembered():
  text, new = ' '.join(WORDS), ' '.join(f'new{i}' for i in range(30))
  texts = [text, f'{text} {new}', new]
  assert near_duplicates.first_seen(texts) == [True, False, True]


def test_short_and_empty_texts():
  assert near_duplicates.first_seen([]) == []
  assert near_duplicates.first_seen(['', '...', 'a']) == [True, False, True]
