"""The App: a page that a host shows beside a result, and the tools that only this page may call.

page        what a host learns of the page: its address, its kind, its rights; and how it is served
page.html   the page itself, whole in one file
app_tools   the tools of the page, which no model ever sees
pictures    what they do with picture files: keep what was dropped, find again what was edited
"""
