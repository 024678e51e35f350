"""The commands of ``manage.py``, a file for each."""
