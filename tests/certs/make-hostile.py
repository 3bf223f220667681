#!/usr/bin/env python3
"""Makes the certificate requests in certs/hostile, once and for all.

The files are committed and the keys are thrown away, so running this again makes other files of the
same kinds. Needs openssl 3 and the `cryptography` package. The expectation for each file stands in
src/ca/tests.rs.
"""

import base64
import os
import subprocess
import sys
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, rsa
from cryptography.x509.name import _ASN1Type as Kind
from cryptography.x509.oid import NameOID, ObjectIdentifier

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "certs/hostile"
UID = ObjectIdentifier("1.3.6.1.4.1.57683.2")


def save(name, contents):
    with open(os.path.join(FOLDER, name + ".pem"), "wb") as file:
        file.write(contents if isinstance(contents, bytes) else contents.encode())


def armour(der, label="CERTIFICATE REQUEST", headers=""):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{headers}{lines}\n-----END {label}-----\n"


def attribute(oid, value, kind=Kind.UTF8String):
    return x509.NameAttribute(oid, value, _type=kind, _validate=False)


def request(attributes, extensions=(), key=None, digest=hashes.SHA256()):
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        digest = None
    return builder.sign(key, digest)


def pem(*args, **kwargs):
    return request(*args, **kwargs).public_bytes(serialization.Encoding.PEM)


def der(*args, **kwargs):
    return request(*args, **kwargs).public_bytes(serialization.Encoding.DER)


def tlv(tag, *contents):
    body = b"".join(contents)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
EC_P256 = bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107")
ED25519 = bytes.fromhex("06032b6570")
NULL = b"\x05\x00"


def by_hand(key, spki, signature_algorithm, digest=hashes.SHA256(), attributes=b""):
    """A request whose parts are given as bytes, signed with `key`."""
    info = tlv(0x30, b"\x02\x01\x00", tlv(0x30), spki, tlv(0xA0, attributes))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(info)
    else:
        signature = key.sign(info, ec.ECDSA(digest))
    return tlv(0x30, info, tlv(0x30, signature_algorithm), tlv(0x03, b"\x00", signature))


def point(key):
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


CN, O, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
alice = [attribute(CN, "alice")]

# What is asked for is not what is certified.
save("p256", pem([]))
save("ed25519", pem([], key=ed25519.Ed25519PrivateKey.generate()))
save("cn-system-masters", pem([attribute(CN, "system:masters")]))
save("o-system-masters", pem([attribute(O, "system:masters"), attribute(CN, "alice")]))
save("o-several", pem([attribute(O, "system:masters"), attribute(O, "system:nodes"), attribute(OU, "x"), *alice]))
save("cn-twice", pem([attribute(CN, "alice"), attribute(CN, "system:admin")]))
save("cn-serviceaccount", pem([attribute(CN, "system:serviceaccount:kube-system:default")]))
save("uid", pem([attribute(UID, "0000000000000000"), *alice]))
save("cn-bmpstring", pem([attribute(CN, "system:masters", Kind.BMPString)]))
save("cn-t61string", pem([attribute(CN, "system:masters", Kind.T61String)]))
save("cn-universalstring", pem([attribute(CN, "system:masters", Kind.UniversalString)]))
save("cn-control-characters", pem([attribute(CN, "alice\x00\x1b[2J\r\nO=system:masters")]))
save("cn-right-to-left", pem([attribute(CN, "alice\u202esretsam:metsys")]))
save("cn-long", pem([attribute(CN, "a" * 1000)]))
save(
    "san",
    pem(
        alice,
        [
            (
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName("kubernetes.default.svc"),
                        x509.RFC822Name("root@example.com"),
                        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/kube-system/sa/default"),
                        x509.DirectoryName(x509.Name([attribute(O, "system:masters")])),
                    ]
                ),
                True,
            )
        ],
    ),
)
save(
    "ca-true",
    pem(
        alice,
        [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
        ],
    ),
)
save(
    "eku-any",
    pem(
        alice,
        [(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), True)],
    ),
)
save("unknown-critical-extension", pem(alice, [(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True)]))
key = ec.generate_private_key(ec.SECP256R1())
challenge = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(alice)).add_attribute(
    x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"hunter2").sign(key, hashes.SHA256())
save("challenge-password", challenge.public_bytes(serialization.Encoding.PEM))

# Signatures.
good = bytearray(der(alice))
good[-1] ^= 1
save("signature-changed", armour(bytes(good)))
changed = bytearray(der([attribute(CN, "alice")]))
at = bytes(changed).index(b"alice")
changed[at : at + 5] = b"admin"
save("subject-changed", armour(bytes(changed)))
key = ec.generate_private_key(ec.SECP256R1())
spki = tlv(0x30, tlv(0x30, EC_P256), tlv(0x03, b"\x00", point(key)))
other = ec.generate_private_key(ec.SECP256R1())
save("signed-by-another-key", armour(by_hand(other, spki, ECDSA_SHA256)))
whole = by_hand(key, spki, ECDSA_SHA256)
info = tlv(0x30, b"\x02\x01\x00", tlv(0x30), spki, tlv(0xA0))
save("signature-zero", armour(tlv(0x30, info, tlv(0x30, ECDSA_SHA256), tlv(0x03, b"\x00", tlv(0x30, b"\x02\x01\x00\x02\x01\x00")))))
save("signature-empty", armour(tlv(0x30, info, tlv(0x30, ECDSA_SHA256), tlv(0x03, b"\x00"))))
save("signature-algorithm-null", armour(by_hand(key, spki, ECDSA_SHA256 + NULL)))
save("p256-sha512", pem(alice, key=key, digest=hashes.SHA512()))
save("p256-sha384", pem(alice, key=key, digest=hashes.SHA384()))
edkey = ed25519.Ed25519PrivateKey.generate()
raw = edkey.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
save("ed25519-null-parameters", armour(by_hand(edkey, tlv(0x30, tlv(0x30, ED25519, NULL), tlv(0x03, b"\x00", raw)), ED25519)))
save("ed25519-named-as-ecdsa", armour(by_hand(edkey, tlv(0x30, tlv(0x30, ED25519), tlv(0x03, b"\x00", raw)), ECDSA_SHA256)))

# Keys.
save("rsa2048", pem(alice, key=rsa.generate_private_key(65537, 2048)))
save("p384", pem(alice, key=ec.generate_private_key(ec.SECP384R1())))
save("p521", pem(alice, key=ec.generate_private_key(ec.SECP521R1())))
save("p224", pem(alice, key=ec.generate_private_key(ec.SECP224R1())))
save("secp256k1", pem(alice, key=ec.generate_private_key(ec.SECP256K1())))
save("ed448", pem(alice, key=ed448.Ed448PrivateKey.generate()))
off = bytearray(point(key))
off[-1] ^= 1
save("p256-point-off-the-curve", armour(by_hand(key, tlv(0x30, tlv(0x30, EC_P256), tlv(0x03, b"\x00", bytes(off))), ECDSA_SHA256)))
save("p256-point-at-infinity", armour(by_hand(key, tlv(0x30, tlv(0x30, EC_P256), tlv(0x03, b"\x00\x00")), ECDSA_SHA256)))
hybrid = bytes([6 | (point(key)[-1] & 1)]) + point(key)[1:]
save("p256-point-hybrid", armour(by_hand(key, tlv(0x30, tlv(0x30, EC_P256), tlv(0x03, b"\x00", hybrid)), ECDSA_SHA256)))
long_form = b"\x30\x81\x59" + spki[2:]
save("p256-key-not-der", armour(by_hand(key, long_form, ECDSA_SHA256)))
save("p256-key-twice", armour(by_hand(key, spki + spki, ECDSA_SHA256)))

# Form.
save("trailing-data-in-block", armour(whole + b"\x00"))
save("request-twice-in-block", armour(whole + whole))
save("two-blocks", armour(whole) + armour(whole))
save("certificate-behind", armour(whole) + armour(whole, "CERTIFICATE"))
save("text-before", "Certificate Request:\n" + armour(whole))
save("text-behind", armour(whole) + "system:masters\n")
save("label-new", armour(whole, "NEW CERTIFICATE REQUEST"))
save("label-certificate", armour(whole, "CERTIFICATE"))
save("label-public-key", armour(spki, "PUBLIC KEY"))
save("headers", armour(whole, headers="Proc-Type: 4,ENCRYPTED\n\n"))
save("huge", pem(alice, [(x509.SubjectAlternativeName([x509.DNSName(f"host-{i:04}.example.com") for i in range(400)]), False)]))
save("empty", b"")
save("white-space", b" \n\t\n")
save("empty-block", armour(b""))
save("not-base64", "-----BEGIN CERTIFICATE REQUEST-----\n!!!!\n-----END CERTIFICATE REQUEST-----\n")
save("cut", armour(whole[: len(whole) // 2]))
save("half-block", armour(whole)[:200])
save("der", b"0\x82\x01\x00 is not text of ours")
save("deep-nesting", armour(tlv(0x30, *[b"\x30\x80" * 1200])))
save("length-of-4-gib", armour(b"\x30\x84\xff\xff\xff\xff" + whole))
save("no-attributes", armour((lambda i: tlv(0x30, i, tlv(0x30, ECDSA_SHA256), tlv(0x03, b"\x00", key.sign(i, ec.ECDSA(hashes.SHA256())))))(
    tlv(0x30, b"\x02\x01\x00", tlv(0x30), spki))))

# What the library above does not make.
with tempfile.TemporaryDirectory() as work:

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=work, check=True, capture_output=True)

    def from_openssl(name, key, *words):
        openssl("req", "-new", "-key", key, "-subj", "/CN=alice", "-out", "out.pem", *words)
        with open(os.path.join(work, "out.pem"), "rb") as file:
            save(name, file.read())

    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "p256.key")
    openssl("ec", "-in", "p256.key", "-conv_form", "compressed", "-out", "compressed.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit", "-out", "explicit.key")
    openssl("genrsa", "-out", "rsa2048.key", "2048")
    openssl("genrsa", "-out", "rsa1024.key", "1024")
    from_openssl("p256-point-compressed", "compressed.key")
    from_openssl("p256-explicit-curve", "explicit.key")
    from_openssl("p256-sha1", "p256.key", "-sha1")
    from_openssl("rsa2048-md5", "rsa2048.key", "-md5")
    from_openssl("rsa2048-sha1", "rsa2048.key", "-sha1")
    from_openssl("rsa1024", "rsa1024.key")
