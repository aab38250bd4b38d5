"""Pictures in and out: a source string becomes a checked, upright, fitted picture; results get previews.

sources     what a source string means, and where its bytes come from
local       files, inside the allowed folders only
links       http(s) URLs, checked and handed on
inline      data URLs and bare base64
clipboard   what the person copied last
latest      the newest screenshot or download
ways        what errors advise, at home and from afar
decode      bytes -> pixels, within limits
bands       a large picture's pixels, shrunk band by band
arenas      memory that decoding needs for a moment
colour      any colour mode and profile -> sRGB
prepare     all of it: sources -> what upstream gets
preview     a result -> a small preview, and how much of the picture changed
wording     how names and sizes are written in errors
"""
