/**
 * A stand-in for `pulumi-resource-digitalocean` over an account that is a folder (see cloud.ts), with the real provider's
 * rules for what it takes and what a change does. Its cluster is the one of `test/cluster` called prod; its databases are real
 * servers. It knows the resources and data sources that Event Flow uses, and refuses every other. Its version says `+stand-in`.
 *
 * Left out: `pulumi import`, the schema, and the marks (`__defaults`, `__meta`) that the real provider leaves in the state.
 */
import * as grpc from "@grpc/grpc-js";
import any from "google-protobuf/google/protobuf/any_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import structs, { type JavaScriptValue, type Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import providerServices, { type IResourceProviderServer } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import status from "@pulumi/pulumi/proto/status_pb.js";
import { servePlugin, unary } from "../../pulumi/plugin-server.ts";
import { kindOf, plain, type Properties, sdkVersion } from "../../pulumi/provider-wire.ts";
import { markSecret, withoutSecretMarks } from "../../pulumi/secrets.ts";
import { Cloud } from "./cloud.ts";
import { hardware } from "./hardware.ts";
import { type Account, dataSources, HalfMade, type Made, type Resource, resources } from "./resources.ts";
import { changes, check, UNKNOWN } from "./rules.ts";

const directory = process.env["EVENT_FLOW_CLOUD"];
if (directory === undefined) throw new Error("EVENT_FLOW_CLOUD must name the folder that the cloud is kept in");
const cloud = new Cloud(directory);
let account: Account | undefined;

function signedIn(): Account {
  if (account === undefined) throw new Error("the engine asks for something before it has configured the provider");
  return account;
}

const standIn: Partial<IResourceProviderServer> = {
  configure: unary((request) => {
    const args = plain(request.getArgs());
    const token = args["token"] ?? process.env["DIGITALOCEAN_TOKEN"];
    account = { cloud, token: typeof token === "string" ? token : "", hardware: hardware(directory) };
    return new provider.ConfigureResponse().setAcceptsecrets(true).setAcceptresources(true).setSupportspreview(true);
  }),

  check: unary((request) => {
    const { fields } = resourceOf(request.getUrn());
    const response = new provider.CheckResponse().setInputs(request.getNews());
    for (const { property, reason } of check(fields, plain(request.getNews()))) {
      response.addFailures(new provider.CheckFailure().setProperty(property).setReason(reason));
    }
    return response;
  }),

  diff: unary((request) => {
    const { fields } = resourceOf(request.getUrn());
    const found = changes(fields, plain(request.getOldInputs()), plain(request.getNews()));
    const { DIFF_NONE, DIFF_SOME } = provider.DiffResponse.DiffChanges;
    const response = new provider.DiffResponse()
      .setChanges(found.length === 0 ? DIFF_NONE : DIFF_SOME)
      .setDiffsList(found.map(({ property }) => topOf(property)))
      .setReplacesList(found.filter(({ replaces }) => replaces).map(({ property }) => topOf(property)))
      .setHasdetaileddiff(true)
      // As with the real provider: the names are fixed by the program, so the old one has to go first.
      .setDeletebeforereplace(true);
    for (const change of found) {
      response.getDetaileddiffMap().set(change.property, new provider.PropertyDiff().setKind(kindOf(change)));
    }
    return response;
  }),

  create: unaryThatMayHalfFail(async (request: InstanceType<typeof provider.CreateRequest>) => {
    const resource = resourceOf(request.getUrn());
    const inputs = plain(request.getProperties());
    const response = new provider.CreateResponse();
    if (request.getPreview()) {
      const unknown = Object.fromEntries(resource.computed.map((property) => [property, UNKNOWN]));
      return response.setProperties(state(resource, { ...unknown, ...inputs }, request.getProperties()));
    }
    const { id, outputs } = await keepingWhatWasMade(resource, request.getProperties(), () =>
      resource.create(signedIn(), inputs),
    );
    return response.setId(id).setProperties(state(resource, outputs, request.getProperties()));
  }),

  read: unary(async (request) => {
    const resource = resourceOf(request.getUrn());
    const outputs = await resource.read(signedIn(), request.getId(), plain(request.getProperties()));
    if (outputs === undefined) return new provider.ReadResponse();
    return new provider.ReadResponse()
      .setId(request.getId())
      .setProperties(state(resource, outputs, request.getInputs()))
      .setInputs(request.getInputs());
  }),

  update: unary(async (request) => {
    const resource = resourceOf(request.getUrn());
    const inputs = plain(request.getNews());
    const outputs = request.getPreview()
      ? { ...plain(request.getOlds()), ...inputs }
      : await resource.update(signedIn(), request.getId(), inputs);
    return new provider.UpdateResponse().setProperties(state(resource, outputs, request.getNews()));
  }),

  delete: unary(async (request) => {
    await resourceOf(request.getUrn()).remove(signedIn(), request.getId(), plain(request.getProperties()));
    return new empty.Empty();
  }),

  invoke: unary(async (request) => {
    const source = dataSources[request.getTok()];
    if (source === undefined)
      throw new Error(`this stand-in for pulumi-resource-digitalocean has no ${request.getTok()}`);
    const answer = await source.read(signedIn(), plain(request.getArgs()));
    const marked = Object.entries(answer)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, source.secrets.includes(name) ? markSecret(value) : value]);
    return new provider.InvokeResponse().setReturn(
      structs.Struct.fromJavaScript(Object.fromEntries(marked) as Record<string, JavaScriptValue>),
    );
  }),

  cancel: unary(() => new empty.Empty()),
  attach: unary(() => new empty.Empty()),
  getPluginInfo: unary(() => new plugins.PluginInfo().setVersion(`${sdkVersion("digitalocean")}+stand-in`)),
};

await servePlugin(providerServices.ResourceProviderService, standIn as grpc.UntypedServiceImplementation);

function resourceOf(urn: string): Resource {
  const type = urn.split("::")[2]?.split("$").at(-1) ?? "";
  const found = resources[type];
  if (found !== undefined) return found;
  throw new Error(
    `this stand-in for pulumi-resource-digitalocean has no resource type ${type}, only ${Object.keys(resources).join(", ")}; ` +
      `install the real provider for ${urn}`,
  );
}

/** Carries what was half made to the engine in the way that it keeps it. */
class InitFailed extends Error {
  readonly metadata = new grpc.Metadata();

  constructor(error: HalfMade, resource: Resource, inputs: Struct | undefined) {
    super(error.message);
    const detail = new provider.ErrorResourceInitFailed()
      .setId(error.made.id)
      .setProperties(state(resource, error.made.outputs, inputs))
      .setReasonsList([error.message])
      .setInputs(inputs);
    const packed = new any.Any();
    packed.pack(detail.serializeBinary(), "pulumirpc.ErrorResourceInitFailed");
    const whole = new status.Status().setCode(grpc.status.UNKNOWN).setMessage(error.message).addDetails(packed);
    this.metadata.add("grpc-status-details-bin", Buffer.from(whole.serializeBinary()));
  }
}

async function keepingWhatWasMade(
  resource: Resource,
  inputs: Struct | undefined,
  make: () => Promise<Made>,
): Promise<Made> {
  try {
    return await make();
  } catch (error) {
    throw error instanceof HalfMade ? new InitFailed(error, resource, inputs) : error;
  }
}

/** Like `unary`, but for the details that an error may carry beside its message. */
function unaryThatMayHalfFail<Request, Response>(
  answer: (request: Request) => Promise<Response>,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    answer(call.request).then(
      (response) => {
        callback(null, response);
      },
      (error: unknown) => {
        const details = error instanceof Error ? error.message : String(error);
        callback({
          code: grpc.status.UNKNOWN,
          details,
          ...(error instanceof InitFailed ? { metadata: error.metadata } : {}),
        });
      },
    );
  };
}

/** The outputs on the wire: those that are secret by the schema marked, those that are inputs as secret as they came. */
function state(resource: Resource, outputs: Properties, inputs: Struct | undefined): Struct {
  const asSent: Properties = inputs?.toJavaScript() ?? {};
  const given = withoutSecretMarks(asSent);
  const marked = Object.entries(outputs)
    .filter(([, value]) => value !== undefined)
    .map(([property, value]) => [
      property,
      resource.secrets.includes(property)
        ? markSecret(value)
        : JSON.stringify(given[property]) === JSON.stringify(value)
          ? asSent[property]
          : value,
    ]);
  return structs.Struct.fromJavaScript(Object.fromEntries(marked) as Record<string, JavaScriptValue>);
}

function topOf(property: string): string {
  return /^\w+/.exec(property)?.[0] ?? property;
}
