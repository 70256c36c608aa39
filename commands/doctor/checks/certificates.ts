import { X509Certificate } from "node:crypto";
import { z } from "zod";
import { daprNamespace } from "../../../components/versions.ts";
import type { Check, Notes } from "../check.ts";
import type { System } from "../system.ts";

const dayMs = 24 * 3_600_000;

/** How long before its end a certificate or a token is told of. */
export const noticeDays = 14;

/** Whether what proves who somebody is will do so for a while yet. */
export const certificates: Check = {
  name: "certificates",
  look: async (system, notes) => {
    await notes.part("Dapr's certificates", async () => {
      const bundle = (await system.list("secrets", daprNamespace)).find(
        ({ metadata }) => metadata.name === "dapr-trust-bundle",
      );
      // Sentry makes it when it starts without one.
      const renew = "dapr mtls renew-certificate --kubernetes --valid-until 365 --restart";
      if (bundle === undefined) {
        notes.found(
          `There is no secret dapr-trust-bundle in ${daprNamespace}`,
          `${system.kubectl} --namespace ${daprNamespace} rollout restart deployment/dapr-sentry`,
        );
        return;
      }
      for (const key of ["ca.crt", "issuer.crt"]) {
        const encoded = bundle.data[key];
        const what = `${key} of Dapr's trust bundle`;
        if (encoded === undefined || encoded === "") notes.found(`There is no ${what}`, renew);
        else lookAtEnd(system, notes, { what, end: endOf(Buffer.from(encoded, "base64").toString()), mend: renew });
      }
    });
    await notes.part("CAs in secrets", async () => {
      for (const { metadata, data } of await system.list("secrets")) {
        for (const [key, encoded] of Object.entries(data).filter(([name]) => name.endsWith(".crt"))) {
          const end = endOf(Buffer.from(encoded, "base64").toString());
          lookAtEnd(system, notes, { what: `${key} of secret ${metadata.name}`, end, mend: system.repair });
        }
      }
    });
    await notes.part("the kubeconfig", async () => {
      const { certificate, token } = await system.credentials();
      const mend =
        system.stack === "prod"
          ? `doctl kubernetes cluster kubeconfig save ${system.context.replace(/^do-[a-z]+\d-/, "")}`
          : "make up";
      if (certificate !== undefined) {
        lookAtEnd(system, notes, { what: "the kubeconfig's certificate", end: endOf(certificate), mend });
      } else if (token !== undefined) {
        const end = endOfToken(token);
        if (end === undefined) notes.at("the kubeconfig's token, which tells no end");
        else lookAtEnd(system, notes, { what: "the kubeconfig's token", end, mend });
      } else {
        notes.at("the kubeconfig, whose user has neither a certificate nor a token in it");
      }
    });
  },
};

function lookAtEnd(
  system: System,
  notes: Notes,
  { what, end, mend }: { readonly what: string; readonly end: number; readonly mend: string },
): void {
  const days = Math.floor((end - system.now()) / dayMs);
  notes.at(`${what}: ${days} days`);
  if (days < noticeDays) {
    const date = new Date(end).toISOString();
    notes.found(`${what} ${days < 0 ? "has expired" : `expires within ${days + 1} days`}: ${date}`, mend);
  }
}

/** The first end among the certificates of a PEM file. */
export function endOf(pem: string): number {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error("no certificate in PEM");
  return Math.min(...blocks.map((block) => new X509Certificate(block).validToDate.getTime()));
}

/** The end of a JWT; other tokens tell none. */
export function endOfToken(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    return z.object({ exp: z.number() }).parse(claims).exp * 1_000;
  } catch {
    return undefined;
  }
}
