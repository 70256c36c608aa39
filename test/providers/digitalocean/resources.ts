/**
 * The resources and data sources of DigitalOcean that the stack uses. What is required, what replaces and what is secret is
 * taken from the real provider's schemas (digitalocean/terraform-provider-digitalocean, `Required`, `ForceNew`, `Sensitive`).
 */
import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { databaseSizes, dropletSizes, engines, evictionPolicies, regions, registryTiers } from "./catalog.ts";
import { ApiError, type Cloud, type CloudObject } from "./cloud.ts";
import type { Hardware } from "./hardware.ts";
import type { Properties } from "../../pulumi/provider-wire.ts";
import type { Fields } from "./rules.ts";

/** What a resource works with: the account, by its token, and what the cloud is made of. */
export interface Account {
  readonly cloud: Cloud;
  readonly token: string;
  readonly hardware: Hardware;
}

export interface Made {
  readonly id: string;
  readonly outputs: Properties;
}

/** Something was made, but is not as it should be: the engine keeps it and goes on with it the next time. */
export class HalfMade extends Error {
  readonly made: Made;

  constructor(message: string, made: Made) {
    super(message);
    this.made = made;
  }
}

export interface Resource {
  readonly fields: Fields;
  /** The outputs that are secret whatever the program says. */
  readonly secrets: readonly string[];
  /** The outputs, beside the inputs, that are known only once it is made. */
  readonly computed: readonly string[];
  readonly create: (account: Account, inputs: Properties) => Promise<Made>;
  /** `undefined` when it's gone. */
  readonly read: (account: Account, id: string, state: Properties) => Promise<Properties | undefined>;
  readonly update: (account: Account, id: string, inputs: Properties) => Promise<Properties>;
  readonly remove: (account: Account, id: string, state: Properties) => Promise<void>;
}

const string = { type: "string" } as const;
const required = { type: "string", required: true } as const;
const fixed = { type: "string", required: true, replaces: true } as const;
const days = ["any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/** A text among checked properties. */
const text = (properties: Properties, name: string): string => (properties[name] ?? "") as string;

/** A call that the API refuses. */
function refuse(method: string, path: string, message: string, status = 422): never {
  throw new ApiError(method, path, status, message);
}

/** What all names at DigitalOcean have in common. */
function checkName(method: string, path: string, name: string): void {
  if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(name)) {
    refuse(
      method,
      path,
      "name: must be 3 to 63 characters of lower-case letters, digits and hyphens, and start and end with a letter or digit",
    );
  }
}

function checkRegion(method: string, path: string, region: string): void {
  if (!regions.includes(region)) refuse(method, path, "validation error: invalid region slug");
}

function byName(cloud: Cloud, kind: string, name: string): CloudObject | undefined {
  return cloud.objects(kind).find(({ inputs }) => inputs["name"] === name);
}

/** Asks until an object is ready, as the real provider does. It forgets what it has made when it may not ask to the end. */
async function waitUntilReady({ cloud, token }: Account, id: string, path: string): Promise<void> {
  for (;;) {
    await cloud.call(token, "GET", path);
    if ((cloud.get(id)?.readyAt ?? 0) <= Date.now()) return;
    await sleep(500);
  }
}

const vpcs = "/v2/vpcs";
const clusters = "/v2/kubernetes/clusters";
const databases = "/v2/databases";
const registry = "/v2/registry";

/** A resource of which all that is made is known with its inputs. */
async function get({ cloud, token }: Account, path: string, id: string): Promise<CloudObject | undefined> {
  await cloud.call(token, "GET", path);
  return cloud.get(id);
}

/** Says as the real provider does what an error kept from being made. */
async function toCreate(what: string, step: Promise<void>): Promise<void> {
  await step.catch((error: unknown) => {
    throw new Error(`Error creating ${what}: ${(error as Error).message}`, { cause: error });
  });
}

function existing({ cloud }: Account, method: string, path: string, id: string): CloudObject {
  return cloud.get(id) ?? refuse(method, path, "The resource you were accessing could not be found.", 404);
}

const vpc: Resource = {
  fields: { name: required, region: fixed, description: string, ipRange: { type: "string", replaces: true } },
  secrets: [],
  computed: ["ipRange", "vpcUrn", "default", "createdAt"],
  create: async ({ cloud, token, hardware }, inputs) => {
    const name = text(inputs, "name");
    await cloud.call(token, "POST", vpcs);
    checkName("POST", vpcs, name);
    checkRegion("POST", vpcs, text(inputs, "region"));
    if (byName(cloud, "Vpc", name))
      refuse("POST", vpcs, "a VPC with the same name already exists in your account", 409);
    const id = randomUUID();
    const made = {
      ipRange: hardware.range,
      vpcUrn: `do:vpc:${id}`,
      default: false,
      createdAt: new Date().toISOString(),
    };
    cloud.put({ id, kind: "Vpc", inputs, made, readyAt: 0 });
    return { id, outputs: { ...inputs, ...made } };
  },
  read: async (account, id) => {
    const found = await get(account, `${vpcs}/${id}`, id);
    return found && { ...found.inputs, ...found.made };
  },
  update: async (account, id, inputs) => {
    const { cloud, token } = account;
    await cloud.call(token, "PUT", `${vpcs}/${id}`);
    const found = existing(account, "PUT", `${vpcs}/${id}`, id);
    cloud.put({ ...found, inputs });
    return { ...inputs, ...found.made };
  },
  remove: async ({ cloud, token }, id) => {
    await cloud.call(token, "DELETE", `${vpcs}/${id}`);
    const members = cloud
      .objects()
      .filter(({ inputs }) => [inputs["vpcUuid"], inputs["privateNetworkUuid"]].includes(id));
    if (members.length > 0) refuse("DELETE", `${vpcs}/${id}`, "Can not delete VPC with members", 403);
    cloud.remove(id);
  },
};

const containerRegistry: Resource = {
  fields: { name: fixed, subscriptionTierSlug: required, region: { type: "string", replaces: true } },
  secrets: [],
  computed: ["endpoint", "serverUrl", "region", "createdAt", "storageUsageBytes"],
  create: async ({ cloud, token }, inputs) => {
    const name = text(inputs, "name");
    await cloud.call(token, "POST", registry);
    checkName("POST", registry, name);
    if (!registryTiers.includes(text(inputs, "subscriptionTierSlug"))) {
      refuse("POST", registry, "invalid subscription tier slug");
    }
    if (cloud.objects("ContainerRegistry").length > 0) refuse("POST", registry, "registry name already exists", 409);
    const made = {
      endpoint: `registry.digitalocean.com/${name}`,
      serverUrl: "registry.digitalocean.com",
      region: inputs["region"] ?? "fra1",
      createdAt: new Date().toISOString(),
      storageUsageBytes: 0,
    };
    cloud.put({ id: name, kind: "ContainerRegistry", inputs, made, readyAt: 0 });
    return { id: name, outputs: { ...inputs, ...made } };
  },
  read: async (account, id) => {
    const found = await get(account, `${registry}/${id}`, id);
    return found && { ...found.inputs, ...found.made };
  },
  update: async (account, id, inputs) => {
    await account.cloud.call(account.token, "POST", `${registry}/subscription`);
    const found = existing(account, "POST", `${registry}/subscription`, id);
    account.cloud.put({ ...found, inputs });
    return { ...inputs, ...found.made };
  },
  remove: async ({ cloud, token }, id) => {
    await cloud.call(token, "DELETE", registry);
    cloud.remove(id);
  },
};

const certificate: Resource = {
  fields: {
    name: fixed,
    type: { type: "string", replaces: true, oneOf: ["custom", "lets_encrypt"] },
    domains: { type: "list", replaces: true },
    privateKey: { type: "string", replaces: true },
    leafCertificate: { type: "string", replaces: true },
    certificateChain: { type: "string", replaces: true },
  },
  secrets: ["privateKey"],
  computed: ["uuid", "state", "notAfter", "sha1Fingerprint"],
  create: async ({ cloud, token }, inputs) => {
    const path = "/v2/certificates";
    await cloud.call(token, "POST", path);
    if (byName(cloud, "Certificate", text(inputs, "name")))
      refuse("POST", path, "certificate name already exists", 409);
    const made = { uuid: randomUUID(), state: "verified", notAfter: "", sha1Fingerprint: "" };
    const id = text(inputs, "name");
    cloud.put({ id, kind: "Certificate", inputs, made, readyAt: 0 });
    return { id, outputs: { ...inputs, ...made } };
  },
  read: async (account, id) => {
    const found = await get(account, `/v2/certificates/${id}`, id);
    return found && { ...found.inputs, ...found.made };
  },
  update: () => Promise.reject(new Error("doesn't support update")),
  remove: async ({ cloud, token }, id) => {
    await cloud.call(token, "DELETE", `/v2/certificates/${id}`);
    cloud.remove(id);
  },
};

const kubernetesCluster: Resource = {
  fields: {
    name: required,
    region: fixed,
    version: required,
    vpcUuid: { type: "string", replaces: true },
    clusterSubnet: { type: "string", replaces: true },
    serviceSubnet: { type: "string", replaces: true },
    ha: { type: "boolean" },
    autoUpgrade: { type: "boolean" },
    surgeUpgrade: { type: "boolean" },
    registryIntegration: { type: "boolean" },
    destroyAllAssociatedResources: { type: "boolean" },
    kubeconfigExpireSeconds: { type: "number" },
    tags: { type: "list" },
    maintenancePolicy: { type: "object", fields: { day: { type: "string", oneOf: days }, startTime: string } },
    nodePool: {
      type: "object",
      required: true,
      fields: {
        name: required,
        // Another size is another cluster: the first pool is a part of it.
        size: fixed,
        nodeCount: { type: "number" },
        autoScale: { type: "boolean" },
        minNodes: { type: "number" },
        maxNodes: { type: "number" },
        tags: { type: "list" },
        labels: { type: "object" },
      },
    },
  },
  secrets: ["kubeConfigs"],
  computed: ["endpoint", "ipv4Address", "status", "kubeConfigs", "clusterUrn", "createdAt", "updatedAt"],
  create: async (account, inputs) => {
    const { cloud, token } = account;
    const describe = (error: unknown) =>
      new Error(`Error creating Kubernetes cluster: ${(error as Error).message}`, { cause: error });
    try {
      await cloud.call(token, "POST", clusters);
      checkCluster(account, "POST", clusters, inputs);
      const id = randomUUID();
      const readyAt = Date.now() + cloud.steering.secondsToReady * 1000;
      cloud.put({ id, kind: "KubernetesCluster", inputs, made: { createdAt: new Date().toISOString() }, readyAt });
      // A failure here leaves the cluster at DigitalOcean, and the real provider forgets it, too.
      await waitUntilReady(account, id, `${clusters}/${id}`);
      if (inputs["registryIntegration"] === true) {
        try {
          await integrateRegistry(account);
        } catch (error) {
          const outputs = await clusterOutputs(account, id, inputs);
          throw new HalfMade(`Error enabling registry integration: ${(error as Error).message}`, { id, outputs });
        }
      }
      return { id, outputs: await clusterOutputs(account, id, inputs) };
    } catch (error) {
      throw error instanceof HalfMade ? error : describe(error);
    }
  },
  read: async (account, id, state) => {
    const found = await get(account, `${clusters}/${id}`, id);
    // The token in the state stays the one that it was: the real provider fetches another only when that says it expired.
    return (
      found && {
        ...(await clusterOutputs(account, id, found.inputs)),
        ...(state["kubeConfigs"] === undefined ? {} : { kubeConfigs: state["kubeConfigs"] }),
      }
    );
  },
  update: async (account, id, inputs) => {
    const { cloud, token } = account;
    await cloud.call(token, "PUT", `${clusters}/${id}`);
    const found = existing(account, "PUT", `${clusters}/${id}`, id);
    if (found.inputs["ha"] === true && inputs["ha"] !== true) {
      refuse("PUT", `${clusters}/${id}`, "validation error: high availability cannot be disabled once enabled");
    }
    checkPool("PUT", `${clusters}/${id}`, inputs["nodePool"] as Properties);
    cloud.put({ ...found, inputs });
    return clusterOutputs(account, id, inputs);
  },
  remove: async ({ cloud, token, hardware }, id) => {
    await cloud.call(token, "DELETE", `${clusters}/${id}`);
    await hardware.forgetTokens();
    cloud.remove(id);
  },
};

function checkPool(method: string, path: string, pool: Properties): void {
  if (!dropletSizes.includes(text(pool, "size"))) refuse(method, path, "validation error: invalid size slug");
  const [min, max] = [Number(pool["minNodes"] ?? 0), Number(pool["maxNodes"] ?? 0)];
  if (pool["autoScale"] === true && (min < 1 || max < min)) {
    refuse(method, path, "validation error: max_nodes must be greater than or equal to min_nodes");
  }
  if (pool["autoScale"] !== true && Number(pool["nodeCount"] ?? 0) < 1) {
    refuse(method, path, "validation error: node pool count must be at least 1");
  }
}

function checkCluster({ cloud }: Account, method: string, path: string, inputs: Properties): void {
  const name = text(inputs, "name");
  checkName(method, path, name);
  checkRegion(method, path, text(inputs, "region"));
  if (!cloud.steering.kubernetesVersions.includes(text(inputs, "version"))) {
    refuse(method, path, "validation error: invalid version slug");
  }
  checkPool(method, path, inputs["nodePool"] as Properties);
  const { vpcUuid } = inputs;
  if (typeof vpcUuid === "string" && cloud.get(vpcUuid)?.inputs["region"] !== inputs["region"]) {
    refuse(method, path, "validation error: vpc_uuid must be of a VPC in the cluster's region");
  }
  if (byName(cloud, "KubernetesCluster", name)) refuse(method, path, "validation error: cluster name already in use");
}

async function integrateRegistry({ cloud, token }: Account): Promise<void> {
  const path = "/v2/kubernetes/registry";
  await cloud.call(token, "POST", path);
  if (cloud.objects("ContainerRegistry").length === 0) refuse("POST", path, "no registry was found", 412);
}

async function clusterOutputs(
  { cloud, token, hardware }: Account,
  id: string,
  inputs: Properties,
): Promise<Properties> {
  await cloud.call(token, "GET", `${clusters}/${id}/kubeconfig`);
  const name = text(inputs, "name");
  const kubeconfig = await hardware.kubeconfig(`do-${text(inputs, "region")}-${name}`);
  const pool = inputs["nodePool"] as Properties;
  return {
    ...inputs,
    nodePool: { ...pool, id: `${id}-pool`, actualNodeCount: pool["nodeCount"] ?? pool["minNodes"] },
    endpoint: kubeconfig.server,
    ipv4Address: new URL(kubeconfig.server).hostname,
    status: "running",
    clusterUrn: `do:kubernetes:${id}`,
    createdAt: cloud.get(id)?.made["createdAt"],
    updatedAt: cloud.get(id)?.made["createdAt"],
    kubeConfigs: [
      {
        rawConfig: kubeconfig.raw,
        host: kubeconfig.server,
        clusterCaCertificate: kubeconfig.ca,
        token: kubeconfig.token,
        expiresAt: new Date(Date.now() + 7 * 24 * 3600_000).toISOString(),
      },
    ],
  };
}

/** What was made but for what only the cloud itself knows. */
function connection({ made }: CloudObject): Properties {
  return Object.fromEntries(Object.entries(made).filter(([name]) => name !== "process"));
}

const databaseCluster: Resource = {
  fields: {
    name: fixed,
    engine: fixed,
    version: string,
    size: required,
    region: required,
    nodeCount: { type: "number", required: true },
    privateNetworkUuid: { type: "string", replaces: true },
    projectId: { type: "string", replaces: true },
    evictionPolicy: string,
    sqlMode: string,
    storageSizeMib: string,
    tags: { type: "list" },
    maintenanceWindows: { type: "list", fields: { day: { ...required, oneOf: days.slice(1) }, hour: required } },
  },
  secrets: ["uri", "privateUri", "password", "uiUri", "uiPassword"],
  computed: ["host", "privateHost", "port", "uri", "privateUri", "database", "user", "password", "clusterUrn"],
  create: async (account, inputs) => {
    const { cloud, token, hardware } = account;
    await toCreate("database cluster", cloud.call(token, "POST", databases));
    checkDatabase(account, "POST", databases, inputs);
    const id = randomUUID();
    const name = text(inputs, "name");
    const password = `AVNS_${randomBytes(15).toString("base64url")}`;
    const running = await hardware.startDatabase(id, text(inputs, "engine"), name, password);
    const engine = engines[text(inputs, "engine")];
    const readyAt = Date.now() + cloud.steering.secondsToReady * 1000;
    const host = `${name}-do-user-1-0`;
    const uri = (at: string) =>
      `${text(inputs, "engine") === "pg" ? "postgresql" : "rediss"}://${engine?.user}:${password}@${at}:${engine?.port}/${engine?.database}`;
    const made = {
      host: `${host}.b.db.ondigitalocean.com`,
      privateHost: running.privateHost,
      port: engine?.port,
      database: engine?.database,
      user: engine?.user,
      password,
      uri: uri(`${host}.b.db.ondigitalocean.com`),
      privateUri: uri(running.privateHost),
      clusterUrn: `do:dbaas:${id}`,
    };
    cloud.put({ id, kind: "DatabaseCluster", inputs, made: { ...made, process: running.process }, readyAt });
    await waitUntilReady(account, id, `${databases}/${id}`);
    if (inputs["evictionPolicy"] !== undefined) {
      await cloud.call(token, "PUT", `${databases}/${id}/eviction_policy`);
      await hardware.setEvictionPolicy(password, text(inputs, "evictionPolicy"));
    }
    return { id, outputs: { ...inputs, ...made } };
  },
  read: async (account, id) => {
    const found = await get(account, `${databases}/${id}`, id);
    return found && { ...found.inputs, ...connection(found) };
  },
  update: async (account, id, inputs) => {
    const { cloud, token } = account;
    await cloud.call(token, "PUT", `${databases}/${id}/resize`);
    const found = existing(account, "PUT", `${databases}/${id}/resize`, id);
    checkDatabaseSize("PUT", `${databases}/${id}/resize`, inputs);
    cloud.put({ ...found, inputs });
    return { ...inputs, ...connection(found) };
  },
  remove: async ({ cloud, token, hardware }, id) => {
    await cloud.call(token, "DELETE", `${databases}/${id}`);
    const found = cloud.get(id);
    if (found === undefined) return;
    await hardware.stopDatabase(id, found.inputs["name"] as string, found.made["process"] as number);
    for (const { id: part, inputs } of cloud.objects()) if (inputs["clusterId"] === id) cloud.remove(part);
    cloud.remove(id);
  },
};

function checkDatabaseSize(method: string, path: string, inputs: Properties): void {
  const counts = databaseSizes[text(inputs, "size")];
  if (counts === undefined) refuse(method, path, "invalid size");
  if (!counts.includes(Number(inputs["nodeCount"]))) {
    refuse(method, path, `invalid node count: size ${text(inputs, "size")} allows ${counts.join(", ")}`);
  }
}

function checkDatabase({ cloud }: Account, method: string, path: string, inputs: Properties): void {
  const [name, engineName] = [text(inputs, "name"), text(inputs, "engine")];
  checkName(method, path, name);
  const engine = engines[engineName];
  if (engine === undefined) refuse(method, path, "invalid cluster engine");
  if (inputs["version"] === undefined) {
    throw new Error('The argument "version" is required, but no definition was found.');
  }
  if (!engine.versions.includes(text(inputs, "version"))) refuse(method, path, "invalid cluster engine version");
  if (!regions.includes(text(inputs, "region"))) refuse(method, path, "invalid region");
  checkDatabaseSize(method, path, inputs);
  const { privateNetworkUuid: vpcId, evictionPolicy } = inputs;
  if (typeof vpcId === "string" && cloud.get(vpcId)?.inputs["region"] !== inputs["region"]) {
    refuse(method, path, "private network UUID is invalid for the region");
  }
  if (evictionPolicy !== undefined) {
    if (engineName !== "valkey") throw new Error("eviction_policy is only supported for Valkey Database Clusters");
    if (!evictionPolicies.includes(text(inputs, "evictionPolicy")))
      refuse("PUT", `${path}/eviction_policy`, "invalid eviction policy");
  }
  if (byName(cloud, "DatabaseCluster", name)) refuse(method, path, "cluster name is not available");
}

/** Something inside a database cluster, which has to be there. */
async function inDatabase(
  account: Account,
  method: "POST" | "PUT" | "DELETE",
  path: string,
  inputs: Properties,
): Promise<CloudObject> {
  await account.cloud.call(account.token, method, path);
  return existing(account, method, path, text(inputs, "clusterId"));
}

const databaseDb: Resource = {
  fields: { clusterId: fixed, name: fixed },
  secrets: [],
  computed: [],
  create: async (account, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/dbs`;
    const cluster = await inDatabase(account, "POST", path, inputs);
    const id = `${cluster.id}/database/${text(inputs, "name")}`;
    if (account.cloud.get(id)) refuse("POST", path, "database name is not available", 409);
    await account.hardware.createDatabase(cluster.made["password"] as string, text(inputs, "name"));
    account.cloud.put({ id, kind: "DatabaseDb", inputs, made: {}, readyAt: 0 });
    return { id, outputs: inputs };
  },
  read: async (account, id) => (await get(account, `${databases}/${id}`, id))?.inputs,
  update: () => Promise.reject(new Error("doesn't support update")),
  remove: async (account, id, state) => {
    const cluster = await inDatabase(account, "DELETE", `${databases}/${id}`, state);
    await account.hardware.dropDatabase(cluster.id, text(state, "name"));
    account.cloud.remove(id);
  },
};

const databaseUser: Resource = {
  fields: { clusterId: fixed, name: fixed, mysqlAuthPlugin: string, settings: { type: "list" } },
  secrets: ["password", "accessCert", "accessKey"],
  computed: ["password", "role"],
  create: async (account, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/users`;
    const cluster = await inDatabase(account, "POST", path, inputs);
    const id = `${cluster.id}/user/${text(inputs, "name")}`;
    if (account.cloud.get(id)) refuse("POST", path, "user name is not available", 409);
    const password = `AVNS_${randomBytes(15).toString("base64url")}`;
    await account.hardware.createUser(cluster.made["password"] as string, text(inputs, "name"), password);
    const made = { password, role: "normal" };
    account.cloud.put({ id, kind: "DatabaseUser", inputs, made, readyAt: 0 });
    return { id, outputs: { ...inputs, ...made } };
  },
  read: async (account, id) => {
    const found = await get(account, `${databases}/${id}`, id);
    return found && { ...found.inputs, ...found.made };
  },
  update: (account, id, inputs) => Promise.resolve({ ...inputs, ...existing(account, "PUT", id, id).made }),
  remove: async (account, id, state) => {
    const cluster = await inDatabase(account, "DELETE", `${databases}/${id}`, state);
    await account.hardware.dropUser(cluster.id, text(state, "name"));
    account.cloud.remove(id);
  },
};

const databaseFirewall: Resource = {
  fields: {
    clusterId: fixed,
    rules: {
      type: "list",
      required: true,
      fields: {
        type: { ...required, oneOf: ["ip_addr", "droplet", "k8s", "tag", "app"] },
        value: required,
        uuid: string,
        createdAt: string,
      },
    },
  },
  secrets: [],
  computed: [],
  create: async (account, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/firewall`;
    const cluster = await inDatabase(account, "PUT", path, inputs);
    checkRules(account, path, inputs);
    const id = `${cluster.id}-firewall`;
    account.cloud.put({ id, kind: "DatabaseFirewall", inputs, made: {}, readyAt: 0 });
    return { id, outputs: inputs };
  },
  read: async (account, id) => (await get(account, `${databases}/${id}`, id))?.inputs,
  update: async (account, id, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/firewall`;
    await inDatabase(account, "PUT", path, inputs);
    checkRules(account, path, inputs);
    account.cloud.put({ ...existing(account, "PUT", path, id), inputs });
    return inputs;
  },
  remove: async (account, id, state) => {
    await inDatabase(account, "PUT", `${databases}/${text(state, "clusterId")}/firewall`, state);
    account.cloud.remove(id);
  },
};

function checkRules({ cloud }: Account, path: string, inputs: Properties): void {
  for (const { type, value } of inputs["rules"] as { type: string; value: string }[]) {
    if (type === "k8s" && cloud.get(value)?.kind !== "KubernetesCluster") {
      refuse("PUT", path, "invalid trusted source: the Kubernetes cluster was not found");
    }
  }
}

const databaseValkeyConfig: Resource = {
  fields: {
    clusterId: fixed,
    persistence: { type: "string", oneOf: ["off", "rdb"] },
    valkeyMaxmemoryPolicy: string,
    ssl: { type: "boolean" },
    timeout: { type: "number" },
  },
  secrets: [],
  computed: [],
  create: async (account, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/config`;
    const cluster = await inDatabase(account, "PUT", path, inputs);
    if (cluster.inputs["engine"] !== "valkey") refuse("PUT", path, "invalid cluster engine");
    const id = `${cluster.id}/valkey-config`;
    account.cloud.put({ id, kind: "DatabaseValkeyConfig", inputs, made: {}, readyAt: 0 });
    return { id, outputs: inputs };
  },
  read: async (account, id) => (await get(account, `${databases}/${id}`, id))?.inputs,
  update: async (account, id, inputs) => {
    const path = `${databases}/${text(inputs, "clusterId")}/config`;
    await inDatabase(account, "PUT", path, inputs);
    account.cloud.put({ ...existing(account, "PUT", path, id), inputs });
    return inputs;
  },
  // The real provider only forgets it.
  remove: ({ cloud }, id) => {
    cloud.remove(id);
    return Promise.resolve();
  },
};

export const resources: Readonly<Record<string, Resource>> = {
  "digitalocean:index/vpc:Vpc": vpc,
  "digitalocean:index/containerRegistry:ContainerRegistry": containerRegistry,
  "digitalocean:index/certificate:Certificate": certificate,
  "digitalocean:index/kubernetesCluster:KubernetesCluster": kubernetesCluster,
  "digitalocean:index/databaseCluster:DatabaseCluster": databaseCluster,
  "digitalocean:index/databaseDb:DatabaseDb": databaseDb,
  "digitalocean:index/databaseUser:DatabaseUser": databaseUser,
  "digitalocean:index/databaseFirewall:DatabaseFirewall": databaseFirewall,
  "digitalocean:index/databaseValkeyConfig:DatabaseValkeyConfig": databaseValkeyConfig,
};

/** What a data source answers, and which parts of it are secret. */
export interface DataSource {
  readonly secrets: readonly string[];
  readonly read: (account: Account, args: Properties) => Promise<Properties>;
}

export const dataSources: Readonly<Record<string, DataSource>> = {
  "digitalocean:index/getKubernetesVersions:getKubernetesVersions": {
    secrets: [],
    read: async ({ cloud, token }, { versionPrefix }) => {
      await cloud.call(token, "GET", "/v2/kubernetes/options");
      const prefix = typeof versionPrefix === "string" ? versionPrefix : "";
      const validVersions = cloud.steering.kubernetesVersions.filter((version) => version.startsWith(prefix));
      if (validVersions.length === 0) throw new Error(`No Kubernetes versions were found with the prefix ${prefix}`);
      return { id: "kubernetes-versions", versionPrefix, latestVersion: validVersions[0], validVersions };
    },
  },
  "digitalocean:index/getKubernetesCluster:getKubernetesCluster": {
    secrets: ["kubeConfigs"],
    read: async (account, { name }) => {
      await account.cloud.call(account.token, "GET", clusters);
      const found = byName(account.cloud, "KubernetesCluster", String(name));
      if (found === undefined) throw new Error(`Unable to find cluster with name: ${String(name)}`);
      const { nodePool, ...outputs } = await clusterOutputs(account, found.id, found.inputs);
      return { ...outputs, nodePools: [nodePool], urn: outputs["clusterUrn"], id: found.id };
    },
  },
  "digitalocean:index/getDatabaseCa:getDatabaseCa": {
    secrets: ["certificate"],
    read: async (account, { clusterId }) => {
      const path = `${databases}/${String(clusterId)}/ca`;
      await account.cloud.call(account.token, "GET", path);
      existing(account, "GET", path, String(clusterId));
      return { id: clusterId, clusterId, certificate: account.hardware.databaseCa() };
    },
  },
};
