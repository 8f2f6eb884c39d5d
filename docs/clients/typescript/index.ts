import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { SearchService } from "./gen/clipsearch/search/v1/search_pb.js";

const client = createClient(SearchService, createGrpcTransport({ baseUrl: "http://127.0.0.1:50052" }));
const { hits } = await client.search({
  collection: "shop",
  query: [{ term: { case: "text", value: "something to drink from" } }],
  limit: 3,
});
for (const hit of hits) console.log(hit.score.toFixed(2), hit.id);
