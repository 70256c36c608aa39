import { writeFileSync } from "node:fs";
import { join } from "node:path";
import puppeteer, { type Browser } from "puppeteer-core";
import { firefox } from "../tools/root-filesystems.ts";
import { toolDir } from "../tools/index.ts";
import { freePort } from "./ports.ts";
import { insideRoot, serverDir, type Server, startServer } from "./process.ts";

/** Firefox, driven by WebDriver BiDi. Its pages may show notifications without asking anybody. */
export interface Firefox extends Server {
  readonly browser: Browser;
}

function preferences(pushServiceUrl: string): Record<string, string | number | boolean> {
  return {
    "dom.push.serverURL": pushServiceUrl,
    // Being driven turns it off otherwise.
    "dom.push.connection.enabled": true,
    // Without TLS, on loopback.
    "dom.push.testing.allowInsecureServerURL": true,
    "permissions.default.desktop-notification": 1,
    // Its own windows show notifications, whatever the desktop has.
    "alerts.useSystemBackend": false,
    // Whatever it wants of the network besides loopback ends at a proxy that isn't there.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.trr.mode": 5,
    "network.manage-offline-status": false,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "app.update.enabled": false,
    "datareporting.policy.dataSubmissionEnabled": false,
    "browser.shell.checkDefaultBrowser": false,
  };
}

export async function startFirefox({ pushServiceUrl }: { readonly pushServiceUrl: string }): Promise<Firefox> {
  const port = await freePort();
  const dir = serverDir("firefox");
  const lines = Object.entries(preferences(pushServiceUrl)).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  );
  writeFileSync(join(dir, "user.js"), lines.join(""));
  const script = [
    "mkdir -p /mnt/profile",
    "cp /mnt/user.js /mnt/profile",
    "export HOME=/mnt",
    `exec firefox-esr --headless --no-remote --profile /mnt/profile --remote-debugging-port ${port} about:blank`,
  ].join("; ");
  // One at a time, however long it takes: Firefox has one session, and refuses whoever asks for a second.
  let connecting: Promise<Browser> | undefined;
  const server = await startServer({
    name: "Firefox",
    dir,
    command: insideRoot(dir, script, { root: join(toolDir(firefox), "root") }),
    timeoutSeconds: 90,
    ready: async () => {
      connecting ??= puppeteer
        .connect({ browserWSEndpoint: `ws://127.0.0.1:${port}/session`, protocol: "webDriverBiDi" })
        .catch((event: unknown) => {
          connecting = undefined;
          // A WebSocket that can't be opened fails with an event and not with an error.
          throw new Error((event as { readonly message: string }).message);
        });
      await connecting;
      return true;
    },
  });
  if (connecting === undefined) throw new Error("Firefox is ready without a session");
  return { ...server, browser: await connecting };
}
