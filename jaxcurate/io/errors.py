"""The one exception whose message is meant for the user."""


class UserError(ValueError):
  """Bad input: one line that names the file, row or setting and the way out.

  The command line prints the message as the last line on stderr and exits
  with code 1; a traceback appears only with --debug.
  """
