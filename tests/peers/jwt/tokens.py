"""Keys and tokens by PyJWT, as one JSON object: see run.py."""

import json
import secrets
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

EDWARDS = ed25519.Ed25519PrivateKey.generate
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def main() -> None:
    issuer = sys.argv[1]
    claims = {"iss": issuer, "aud": ["other", "peers"], "sub": "ann", "iat": int(time.time()), "exp": time.time() + 600.5}
    expired = claims | {"exp": int(time.time()) - 60}
    secret = secrets.token_hex(64)
    keys, tokens = [], {}
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", *CURVES, "EdDSA", "HS256", "HS384", "HS512"]:
        if algorithm.startswith("HS"):
            signer, about = secret, claims | {"iss": f"{issuer}-secret"}
        else:
            signer, about = private(algorithm), claims
            public = jwt.get_algorithm_by_name(algorithm).to_jwk(signer.public_key(), as_dict=True)
            keys.append(public | {"kid": algorithm, "use": "sig", "alg": algorithm})
        headers = {"kid": algorithm}
        tokens[algorithm] = {
            "good": jwt.encode(about, signer, algorithm=algorithm, headers=headers),
            "expired": jwt.encode(about | {"exp": expired["exp"]}, signer, algorithm=algorithm, headers=headers),
            "forged": jwt.encode(about, other(algorithm), algorithm=algorithm, headers=headers),
        }
    json.dump({"keys": {"keys": keys}, "secret": secret, "tokens": tokens}, sys.stdout)


def private(algorithm: str):
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return EDWARDS() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)


def other(algorithm: str):
    return secrets.token_hex(64) if algorithm.startswith("HS") else private(algorithm)


main()
