Version: 3
Serial Number: <16 random octets>
Signature Algorithm: ecdsa-with-SHA256
Issuer:
    OU = "<cluster>" (Utf8String)
    CN = "jitd issuing" (Utf8String)
Validity:
    Not Before: <now, 30 s back, not before the issuing certificate>
    Not After:  <last whole second of lifetime, grant and issuing certificate> (included)
Subject:
    O = "jit:<grant>" (Utf8String)
    CN = "jit:<person>" (Utf8String)
    UID of Kubernetes (1.3.6.1.4.1.57683.2) = "<grant>" (Utf8String)
Subject Public Key Info:
    <the key of the request: P-256 or Ed25519>
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
