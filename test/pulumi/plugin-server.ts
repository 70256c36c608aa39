import { fstatSync } from "node:fs";
import * as grpc from "@grpc/grpc-js";

/**
 * Makes a gRPC handler of a function that returns its answer or throws. The engine shows the message of what is thrown.
 */
export function unary<Request, Response>(
  answer: (request: Request, call: grpc.ServerUnaryCall<Request, Response>) => Response | Promise<Response>,
): grpc.handleUnaryCall<Request, Response> {
  const answerLater = async (call: grpc.ServerUnaryCall<Request, Response>): Promise<Response> =>
    answer(call.request, call);
  return (call, callback) => {
    answerLater(call).then(
      (response) => {
        callback(null, response);
      },
      (error: unknown) => {
        callback(statusOf(error));
      },
    );
  };
}

/** The error of something that a stand-in leaves out on purpose. */
export class Unimplemented extends Error {}

/** How an error goes over the wire. */
export function statusOf(error: unknown): Partial<grpc.StatusObject> {
  return {
    code: error instanceof Unimplemented ? grpc.status.UNIMPLEMENTED : grpc.status.UNKNOWN,
    details: error instanceof Error ? error.message : String(error),
  };
}

/**
 * Serves a plugin as the engine expects it: on a free port of the loopback interface, which is printed as the first line of
 * stdout. Ends when the engine asks for it by a signal, and when the engine is gone: the engine holds the other end of
 * stdin, so that its end is the engine's end, however that came about.
 */
export async function servePlugin(
  service: grpc.ServiceDefinition,
  implementation: grpc.UntypedServiceImplementation,
  beforeExit: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const server = new grpc.Server();
  server.addService(service, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });

  let ending = false;
  const end = (): void => {
    if (ending) return;
    ending = true;
    void beforeExit().finally(() => process.exit(0));
  };
  process.on("SIGINT", end);
  process.on("SIGTERM", end);
  if (isPipe(0)) process.stdin.on("end", end).on("error", end).resume();
  // Nobody reads any more, which must not end this process before its children.
  process.stdout.on("error", end);
  process.stderr.on("error", end);

  console.log(String(port));
}

/** Started by hand, stdin is a terminal or /dev/null, whose end means nothing. */
function isPipe(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor);
    return stat.isFIFO() || stat.isSocket();
  } catch {
    return false;
  }
}
