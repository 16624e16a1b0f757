"""The one exception whose message is meant for the user."""


class UserError(ValueError):
  """Bad input: one line that names the file, row or setting and the way out.

  The command line prints the message as the last line on stderr and exits
  with code 1; a traceback appears only with --debug.
  """


class Interrupted(BaseException):
  """Asked to stop (SIGTERM); everything finished has been committed.

  The command line exits with code 75, which schedulers read as "try again".
  Like KeyboardInterrupt it is no Exception: it may arise anywhere, and a
  library that catches every Exception (a compilation cache) must not eat it.
  """
