"""The journal: every edit, written down before money can move.

`book` is what the program works with, `statements` holds all SQL, `file` opens and migrates the file.
"""
