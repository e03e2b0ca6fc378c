// Keys and tokens by jose, as one JSON object: see run.py. Started with the issuer's name and the folder that holds jose.

import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

const [issuer, folder] = process.argv.slice(2);
const jose = await import(pathToFileURL(createRequire(`${folder}/`).resolve("jose")));

const PUBLIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const now = Math.floor(Date.now() / 1000);
const text = randomBytes(64).toString("hex");
const secret = () => new TextEncoder().encode(text);
const keys = [];
const tokens = {};

const sign = (algorithm, name, key, exp) =>
  new jose.SignJWT({ scope: "all" })
    .setProtectedHeader({ alg: algorithm, kid: algorithm, typ: "at+jwt" })
    .setIssuer(name).setAudience("peers").setSubject("ann").setIssuedAt().setNotBefore(now - 5).setExpirationTime(exp)
    .sign(key);

const three = async (algorithm, name, key, other) => ({
  good: await sign(algorithm, name, key, now + 600),
  expired: await sign(algorithm, name, key, now - 60),
  forged: await sign(algorithm, name, other, now + 600),
});

for (const algorithm of PUBLIC) {
  const [pair, other] = [await jose.generateKeyPair(algorithm, { extractable: true }), await jose.generateKeyPair(algorithm)];
  keys.push({ ...(await jose.exportJWK(pair.publicKey)), kid: algorithm, use: "sig", alg: algorithm, key_ops: ["verify"] });
  tokens[algorithm] = await three(algorithm, issuer, pair.privateKey, other.privateKey);
}
for (const algorithm of ["HS256", "HS384", "HS512"]) {
  tokens[algorithm] = await three(algorithm, `${issuer}-secret`, secret(), randomBytes(64));
}
process.stdout.write(JSON.stringify({ keys: { keys }, secret: text, tokens }));
