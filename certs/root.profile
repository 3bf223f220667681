Version: 3
Serial Number: <16 random octets>
Signature Algorithm: ecdsa-with-SHA256
Issuer:
    OU = "<cluster>" (Utf8String)
    CN = "jitd root <first 4 octets of its key identifier>" (Utf8String)
Validity:
    Not Before: <now, 60 s back>
    Not After:  <last whole second of the root's years> (included)
Subject:
    OU = "<cluster>" (Utf8String)
    CN = "jitd root <first 4 octets of its key identifier>" (Utf8String)
Subject Public Key Info:
    <a fresh P-256 key>
Extensions:
    Basic Constraints (critical):
        CA:TRUE, pathlen:1
    Key Usage (critical):
        Key Cert Sign, CRL Sign
    Subject Key Identifier:
        <SHA-256 of the key bits, first 20 octets>
