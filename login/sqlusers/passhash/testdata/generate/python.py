# Hashes by passlib, Django, Werkzeug, bcrypt and argon2-cffi: /usr/bin/python3 python.py > ../python.json
import hashlib, json, secrets, sys
import bcrypt, passlib, passlib.hash as ph, argon2, werkzeug, django
from base64 import b64encode
from django.conf import settings
from werkzeug.security import generate_password_hash

settings.configure()
from django.contrib.auth import hashers

PASSWORDS = ["correct horse 1", "пароль-密码-é", "e\u0301 decomposed", " spaces around ", "x" * 71, "y" * 72, "z" * 80, "w" * 200]

def fast(cls, **attrs):
    return type(cls.__name__, (cls,), attrs)()

def salt():
    return secrets.token_urlsafe(9).replace("-", "a").replace("_", "b")

def django_scrypt(p):  # Django 4 and later; the layout of ScryptPasswordHasher.encode
    s = salt()
    return "scrypt$16384$%s$8$1$%s" % (s, b64encode(hashlib.scrypt(p.encode(), salt=s.encode(), n=16384, r=8, p=1, dklen=64)).decode())

def werkzeug_scrypt(p):  # Werkzeug 2.3 and later; the layout of generate_password_hash
    s = salt()
    return "scrypt:32768:8:1$%s$%s" % (s, hashlib.scrypt(p.encode(), salt=s.encode(), n=32768, r=8, p=1, maxmem=1 << 27, dklen=64).hex())

DJ = hashers
MAKERS = {
    "bcrypt 2a": lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(4, b"2a")).decode(),
    "bcrypt 2b": lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(5, b"2b")).decode(),
    "passlib bcrypt": lambda p: ph.bcrypt.using(rounds=4, truncate_error=False).hash(p),
    "passlib bcrypt_sha256 v1": lambda p: ph.bcrypt_sha256.using(rounds=4, version=1).hash(p),
    "passlib bcrypt_sha256 v2": lambda p: ph.bcrypt_sha256.using(rounds=4).hash(p),
    "passlib pbkdf2_sha1": lambda p: ph.pbkdf2_sha1.using(rounds=1000).hash(p),
    "passlib pbkdf2_sha256": lambda p: ph.pbkdf2_sha256.using(rounds=1000).hash(p),
    "passlib pbkdf2_sha512": lambda p: ph.pbkdf2_sha512.using(rounds=1000).hash(p),
    "passlib scrypt": lambda p: ph.scrypt.using(rounds=10).hash(p),
    "passlib argon2": lambda p: ph.argon2.using(time_cost=2, memory_cost=512, parallelism=2).hash(p),
    "passlib phpass": lambda p: ph.phpass.using(rounds=8).hash(p),
    "passlib phpass H": lambda p: ph.phpass.using(rounds=8, ident="H").hash(p),
    "argon2-cffi id": lambda p: argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(p),
    "argon2-cffi i": lambda p: argon2.PasswordHasher(time_cost=3, memory_cost=64, parallelism=4, type=argon2.Type.I).hash(p),
    "django pbkdf2_sha256": lambda p: fast(DJ.PBKDF2PasswordHasher).encode(p, salt(), 1000),
    "django pbkdf2_sha1": lambda p: fast(DJ.PBKDF2SHA1PasswordHasher).encode(p, salt(), 1000),
    "django argon2": lambda p: fast(DJ.Argon2PasswordHasher, time_cost=1, memory_cost=512, parallelism=8).encode(p, salt()),
    "django bcrypt_sha256": lambda p: (lambda h: h.encode(p, h.salt()))(fast(DJ.BCryptSHA256PasswordHasher, rounds=4)),
    "django bcrypt": lambda p: (lambda h: h.encode(p, h.salt()))(fast(DJ.BCryptPasswordHasher, rounds=4)),
    "django scrypt": django_scrypt,
    "werkzeug pbkdf2": lambda p: generate_password_hash(p, "pbkdf2:sha256:1000"),
    "werkzeug pbkdf2 sha512": lambda p: generate_password_hash(p, "pbkdf2:sha512:1000"),
    "werkzeug scrypt": werkzeug_scrypt,
}
LEGACY = {
    "django sha1": lambda p: fast(DJ.SHA1PasswordHasher).encode(p, salt()),
    "django md5": lambda p: fast(DJ.MD5PasswordHasher).encode(p, salt()),
    "django unsalted md5": lambda p: fast(DJ.UnsaltedMD5PasswordHasher).encode(p, ""),
    "ldap salted sha1": lambda p: ph.ldap_salted_sha1.hash(p),
    "ldap salted sha256": lambda p: ph.ldap_salted_sha256.hash(p),
    "ldap md5": lambda p: ph.ldap_md5.hash(p),
}
out = {"made_by": "Python %s, passlib %s, Django %s, Werkzeug %s, bcrypt %s, argon2-cffi %s" % (
    sys.version.split()[0], passlib.__version__, django.__version__, werkzeug.__version__, bcrypt.__version__, argon2.__version__),
    "hashes": [{"maker": m, "password": p, "hash": f(p)} for m, f in MAKERS.items() for p in PASSWORDS],
    "insecure": [{"maker": m, "password": p, "hash": f(p)} for m, f in LEGACY.items() for p in PASSWORDS[:3]]}
json.dump(out, sys.stdout, indent=1, ensure_ascii=True)
print()
