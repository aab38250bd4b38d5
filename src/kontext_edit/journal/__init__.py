"""The journal: every edit, written down before money can move.

`book` is what the program works with; `statements`, `sums` and `facts` hold the SQL, one text for both
engines: `embedded`, a file of SQLite's that `file` opens and migrates, and `postgres`, a database that
several servers share. Only `news` knows who is told of an edit that moved.
"""
