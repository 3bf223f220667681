Version: 3
Serial Number: <16 random octets>
Signature Algorithm: ecdsa-with-SHA256
Issuer:
    OU = "<cluster>" (Utf8String)
    CN = "jitd issuing" (Utf8String)
Validity:
    Not Before: <now, 30 s back, not before the issuing certificate>
    Not After:  <last whole second of lifetime and issuing certificate> (included)
Subject:
    CN = "jit:probe:<host>" (Utf8String)
Subject Public Key Info:
    <a fresh P-256 key>
Extensions:
    Authority Key Identifier:
        <key identifier of the issuing certificate>
    Basic Constraints (critical):
        CA:FALSE
    Extended Key Usage:
        TLS Web Client Authentication
    Key Usage (critical):
        Digital Signature
    Subject Key Identifier:
        <SHA-256 of the key bits, first 20 octets>
