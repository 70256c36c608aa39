/** What DigitalOcean sells, as far as this project asks for it or mistakes it for something else. */

export const regions = ["ams3", "blr1", "fra1", "lon1", "nyc1", "nyc2", "nyc3", "sfo2", "sfo3", "sgp1", "syd1", "tor1"];

/** Sizes of a cluster's nodes. */
export const dropletSizes = [
  "s-1vcpu-2gb",
  "s-2vcpu-2gb",
  "s-2vcpu-4gb",
  "s-4vcpu-8gb",
  "s-8vcpu-16gb",
  "c-2",
  "c-4",
  "g-2vcpu-8gb",
  "g-4vcpu-16gb",
];

interface Engine {
  readonly versions: readonly string[];
  readonly port: number;
  /** The database that it has from the start. */
  readonly database: string;
  readonly user: string;
}

export const engines: Readonly<Record<string, Engine>> = {
  pg: { versions: ["14", "15", "16", "17"], port: 25060, database: "defaultdb", user: "doadmin" },
  valkey: { versions: ["8"], port: 25061, database: "", user: "default" },
};

/** Sizes of a database, and how many nodes each may have. */
export const databaseSizes: Readonly<Record<string, readonly number[]>> = {
  "db-s-1vcpu-1gb": [1],
  "db-s-1vcpu-2gb": [1, 2, 3],
  "db-s-2vcpu-4gb": [1, 2, 3],
  "db-s-4vcpu-8gb": [1, 2, 3],
};

export const evictionPolicies = [
  "noeviction",
  "allkeys_lru",
  "allkeys_random",
  "volatile_lru",
  "volatile_random",
  "volatile_ttl",
];

export const registryTiers = ["starter", "basic", "professional"];
