"""Where finished pictures and uploads are kept: in folders of this machine, or on an object store.

place     where a picture is, and what every store can do
disk      folders of this machine
bucket    an object store, shared by replicas; needs the library obstore
links     links of our own, for stores that cannot sign any
opening   the store that the settings name
naming    names by which a person finds a picture
inbox     pictures that are given as bytes: checked, and kept for their owner
recall    earlier results, as sources of new edits
"""
