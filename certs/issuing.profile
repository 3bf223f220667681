Version: 3
Serial Number: <16 random octets>
Signature Algorithm: ecdsa-with-SHA256
Issuer:
    OU = "<cluster>" (Utf8String)
    CN = "jitd root <first 4 octets of its key identifier>" (Utf8String)
Validity:
    Not Before: <now, 60 s back, not before the root>
    Not After:  <last whole second of the issuing days and of the root> (included)
Subject:
    OU = "<cluster>" (Utf8String)
    CN = "jitd issuing" (Utf8String)
Subject Public Key Info:
    <a fresh P-256 key>
Extensions:
    Authority Key Identifier:
        <key identifier of the root>
    Basic Constraints (critical):
        CA:TRUE, pathlen:0
    Extended Key Usage:
        TLS Web Client Authentication
    Key Usage (critical):
        Key Cert Sign
    Subject Key Identifier:
        <SHA-256 of the key bits, first 20 octets>
