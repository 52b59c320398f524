# weft_test(<room>/<unit>_test LINK <library>...)
