/**
 * A stand-in for `pulumi-resource-random`, the provider behind `@pulumi/random`, which comes from Pulumi's download servers
 * only. It knows the one resource type that Event Flow uses, RandomPassword, with the real provider's rules (see
 * random-password.ts), and refuses every other. Its version says `+stand-in`.
 *
 * Left out: `pulumi import`, functions, the schema, and the mark (`__defaults`) that the real provider leaves in its inputs.
 */
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import structs, { type JavaScriptValue, type Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import plugins from "@pulumi/pulumi/proto/plugin_pb.js";
import providerServices, { type IResourceProviderServer } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import provider from "@pulumi/pulumi/proto/provider_pb.js";
import { servePlugin, unary, Unimplemented } from "./plugin-server.ts";
import { changes, check, generate, preview, SECRET_OUTPUTS, withDefaults } from "./random-password.ts";
import { kindOf, plain, type Properties, sdkVersion } from "./provider-wire.ts";
import { markSecret } from "./secrets.ts";

const TYPE = "random:index/randomPassword:RandomPassword";
/** The id that the real provider gives to every password. */
const ID = "none";

type Served =
  | "configure"
  | "check"
  | "diff"
  | "create"
  | "read"
  | "update"
  | "delete"
  | "invoke"
  | "cancel"
  | "attach"
  | "getPluginInfo";

// The server answers UNIMPLEMENTED for every method that is missing here, and the engine does without.
const random: Pick<IResourceProviderServer, Served> = {
  configure: unary(() =>
    new provider.ConfigureResponse().setAcceptsecrets(true).setAcceptresources(true).setSupportspreview(true),
  ),

  check: unary((request) => {
    requireKnownType(request.getUrn());
    const response = new provider.CheckResponse().setInputs(request.getNews());
    for (const { property, reason } of check(plain(request.getNews()))) {
      response.addFailures(new provider.CheckFailure().setProperty(property).setReason(reason));
    }
    return response;
  }),

  diff: unary((request) => {
    requireKnownType(request.getUrn());
    const ignored = request.getIgnorechangesList();
    const found = changes(plain(request.getOlds()), plain(request.getNews())).filter(
      ({ property }) => !ignored.includes(property),
    );
    const { DIFF_NONE, DIFF_SOME } = provider.DiffResponse.DiffChanges;
    const response = new provider.DiffResponse()
      .setChanges(found.length === 0 ? DIFF_NONE : DIFF_SOME)
      .setDiffsList(found.map(({ property }) => property))
      .setReplacesList(found.filter(({ replaces }) => replaces).map(({ property }) => property))
      .setHasdetaileddiff(true);
    for (const change of found) {
      response.getDetaileddiffMap().set(change.property, new provider.PropertyDiff().setKind(kindOf(change)));
    }
    return response;
  }),

  create: unary((request) => {
    requireKnownType(request.getUrn());
    const inputs = request.getProperties();
    const outputs = request.getPreview() ? preview(plain(inputs)) : generate(plain(inputs));
    return new provider.CreateResponse().setId(request.getPreview() ? "" : ID).setProperties(state(outputs, inputs));
  }),

  // A password lives in the stack's state only, so the state is always right.
  read: unary((request) => {
    requireKnownType(request.getUrn());
    if (request.getProperties()?.getFieldsMap().has("result") !== true) {
      throw new Unimplemented("this stand-in for pulumi-resource-random doesn't import passwords");
    }
    return new provider.ReadResponse()
      .setId(request.getId())
      .setProperties(request.getProperties())
      .setInputs(request.getInputs());
  }),

  // Comes only for a change that leaves the password as it is.
  update: unary((request) => {
    requireKnownType(request.getUrn());
    const olds = plain(request.getOlds());
    const made = Object.fromEntries(SECRET_OUTPUTS.map((property) => [property, olds[property]]));
    const news = request.getNews();
    return new provider.UpdateResponse().setProperties(state({ ...withDefaults(plain(news)), ...made }, news));
  }),

  delete: unary((request) => {
    requireKnownType(request.getUrn());
    return new empty.Empty();
  }),

  invoke: unary((request) => {
    throw new Unimplemented(`this stand-in for pulumi-resource-random has no functions, also not ${request.getTok()}`);
  }),

  cancel: unary(() => new empty.Empty()),
  attach: unary(() => new empty.Empty()),
  getPluginInfo: unary(() => new plugins.PluginInfo().setVersion(`${sdkVersion("random")}+stand-in`)),
};

await servePlugin(providerServices.ResourceProviderService, random);

function requireKnownType(urn: string): void {
  const type = urn.split("::")[2]?.split("$").at(-1);
  if (type !== TYPE) {
    throw new Error(
      `this stand-in for pulumi-resource-random has no resource type ${String(type)}, only ${TYPE}; ` +
        `install the real provider for ${urn}`,
    );
  }
}

/** The outputs on the wire: the made ones secret, those that are inputs as secret as they came. */
function state(outputs: Properties, inputs: Struct | undefined): Struct {
  const asSent: Properties = inputs?.toJavaScript() ?? {};
  const marked = Object.entries(outputs).map(([property, value]): [string, JavaScriptValue] => [
    property,
    SECRET_OUTPUTS.includes(property) ? markSecret(value) : ((asSent[property] ?? value) as JavaScriptValue),
  ]);
  return structs.Struct.fromJavaScript(Object.fromEntries(marked));
}
