"""JSON text that strict readers refuse, and text that looks like it and is right. One list for the
metadata of packages and for every document."""
import json


def nested(depth, opening=b'[', closing=b']'):
    return opening * depth + closing * depth


# (name, text of a value, whether it is one)
VALUES = [
    ('zero', b'0', True), ('minus zero', b'-0', True), ('an exponent', b'1e2', True),
    ('capital exponent', b'1E+2', True), ('largest double', b'1.7976931348623157e308', True),
    ('smallest subnormal', b'4.9406564584124654e-324', True),
    ('2^53', b'9007199254740992', True), ('2^63', b'9223372036854775808', True),
    ('-2^63', b'-9223372036854775808', True), ('2^64 - 1', b'18446744073709551615', True),
    ('2^64', b'18446744073709551616', True), ('300 digits', b'1' * 300, True),
    ('a fraction of 1,000 digits', b'0.' + b'1' * 1000, True),
    ('1e400', b'1e400', False), ('-1e400', b'-1e400', False), ('400 digits', b'9' * 400, False),
    ('1e99999999999999999999', b'1e99999999999999999999', False),
    ('a leading zero', b'01', False), ('a leading minus zero', b'-01', False),
    ('a plus', b'+1', False), ('no digit before the point', b'.5', False),
    ('no digit after the point', b'1.', False), ('no digit in the exponent', b'1e', False),
    ('a sign alone', b'-', False), ('hexadecimal', b'0x10', False), ('an underscore', b'1_0', False),
    ('two points', b'1.2.3', False), ('NaN', b'NaN', False), ('nan', b'nan', False),
    ('Infinity', b'Infinity', False), ('-Infinity', b'-Infinity', False), ('inf', b'inf', False),
    ('true', b'true', True), ('True', b'True', False), ('tru', b'tru', False),
    ('null', b'null', True), ('Null', b'Null', False), ('nul', b'nul', False),
    ('undefined', b'undefined', False), ('nothing', b'', False),
    ('an empty text', b'""', True), ('every escape', b'"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041"', True),
    ('an escaped NUL', b'"\\u0000"', True), ('a pair of surrogates', b'"\\ud83d\\ude00"', True),
    ('a delete character', b'"\x7f"', True), ('U+10FFFF', b'"\xf4\x8f\xbf\xbf"', True),
    ('U+0080', b'"\xc2\x80"', True), ('a byte order mark inside', b'"\xef\xbb\xbf"', True),
    ('a high surrogate alone', b'"\\ud800"', False), ('a low surrogate alone', b'"\\udc00"', False),
    ('surrogates the wrong way', b'"\\udc00\\ud800"', False),
    ('two high surrogates', b'"\\ud800\\ud800"', False),
    ('a high surrogate and a letter', b'"\\ud800x"', False),
    ('an unknown escape', b'"\\x41"', False), ('an escaped quote', b"'\\''", False),
    ('a short escape', b'"\\u004"', False), ('an escape of no digits', b'"\\u00g0"', False),
    ('a tab', b'"\t"', False), ('a line feed', b'"\n"', False), ('a control byte', b'"\x01"', False),
    ('a byte 1f', b'"\x1f"', False), ('NUL in a text', b'"\0"', False),
    ('a continuation byte alone', b'"\x80"', False), ('a cut sequence of two', b'"\xc3"', False),
    ('a cut sequence of three', b'"\xe2\x82"', False),
    ('a cut sequence of four', b'"\xf0\x9f\x98"', False),
    ('an overlong NUL', b'"\xc0\x80"', False), ('an overlong slash', b'"\xc0\xaf"', False),
    ('an overlong sequence of three', b'"\xe0\x80\xaf"', False),
    ('an overlong sequence of four', b'"\xf0\x80\x80\xaf"', False),
    ('a surrogate in UTF-8', b'"\xed\xa0\x80"', False), ('past U+10FFFF', b'"\xf4\x90\x80\x80"', False),
    ('a byte f5', b'"\xf5\x80\x80\x80"', False), ('a byte fe', b'"\xfe"', False),
    ('a byte ff', b'"\xff"', False), ('Latin-1', b'"\xe9"', False),
    ('single quotes', b"'a'", False), ('no quotes', b'a', False), ('an open text', b'"a', False),
    ('an empty array', b'[]', True), ('an empty object', b'{}', True),
    ('a key of no character', b'{"":0}', True), ('spaces everywhere', b' \t\r\n[ 1 , 2 ] ', True),
    ('a comma too many', b'[1,]', False), ('a comma alone', b'[,]', False),
    ('a comma too few', b'[1 2]', False), ('two commas', b'[1,,2]', False),
    ('an object with a comma too many', b'{"a":1,}', False), ('no colon', b'{"a" 1}', False),
    ('two colons', b'{"a"::1}', False), ('a key without a value', b'{"a"}', False),
    ('a number as a key', b'{1:1}', False), ('a key without quotes', b'{a:1}', False),
    ('an open array', b'[1', False), ('an open object', b'{"a":1', False),
    ('a bracket too many', b'[1]]', False), ('brackets that cross', b'[{"a":1]}', False),
    ('a comment', b'1 /* one */', False), ('a line comment', b'1 // one\n', False),
    ('a vertical tab', b'\x0b1', False), ('a form feed', b'\x0c1', False),
    ('a space of Unicode', b'\xc2\xa01', False), ('a byte order mark', b'\xef\xbb\xbf1', False),
]

# (name, text of a value in which a key stands twice)
DUPLICATES = [
    ('the same key', b'{"a":1,"a":1}'), ('other values', b'{"a":1,"b":2,"a":3}'),
    ('an escaped key', b'{"a":1,"\\u0061":2}'), ('a key of no character', b'{"":1,"":2}'),
    ('deep inside', b'[[{"b":[{"a":{},"a":{}}]}]]'), ('in capital escapes', b'{"\\u00E9":1,"\\u00e9":2}'),
    ('raw and escaped', b'{"\xc3\xa9":1,"\\u00e9":2}'), ('a slash', b'{"/":1,"\\/":2}'),
    ('an escaped NUL', b'{"\\u0000":1,"\\u0000":2}'),
]
NOT_DUPLICATES = [
    ('another case', b'{"a":1,"A":2}'), ('in two objects', b'[{"a":1},{"a":1}]'),
    ('in one inside the other', b'{"a":{"a":{"a":1}}}'),
    ('composed and decomposed', b'{"\xc3\xa9":1,"e\xcc\x81":2}'), ('a space', b'{"a":1,"a ":2}'),
    ('cut by an escaped NUL', b'{"a\\u0000b":1,"a\\u0000c":2}'),
]

# (name, the whole text made of a valid one)
WHOLE = [
    ('nothing', lambda text: b''), ('a space', lambda text: b' '),
    ('a byte order mark', lambda text: b'\xef\xbb\xbf' + text),
    ('NUL before', lambda text: b'\0' + text), ('NUL behind', lambda text: text + b'\0'),
    ('NULs alone', lambda text: bytes(16)),
    ('twice', lambda text: text + text), ('a letter behind', lambda text: text + b'x'),
    ('a comma behind', lambda text: text + b','), ('a brace behind', lambda text: text + b'}'),
    ('a comment behind', lambda text: text + b'// end'),
    ('in an array', lambda text: b'[' + text + b']'), ('as a text', lambda text: json.dumps(
        text.decode()).encode()),
    ('a number', lambda text: b'1'), ('null', lambda text: b'null'), ('true', lambda text: b'true'),
    ('an array', lambda text: b'[]'), ('a text', lambda text: b'"a"'),
    ('UTF-16, little end first', lambda text: text.decode().encode('utf-16-le')),
    ('UTF-16, big end first', lambda text: text.decode().encode('utf-16-be')),
    ('UTF-16 with its mark', lambda text: b'\xff\xfe' + text.decode().encode('utf-16-le')),
    ('UTF-32', lambda text: text.decode().encode('utf-32-le')),
    ('the first brace missing', lambda text: text.lstrip()[1:]),
    ('a bracket for the last brace', lambda text: text.rstrip()[:-1] + b']'),
    ('an open bracket for the last brace', lambda text: text.rstrip()[:-1] + b'['),
]
