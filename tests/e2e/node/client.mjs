// Talks to a gateway with the official client, unchanged, and prints what came back as one JSON document.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.GATEWAY_URL + "/v1", apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hello there" }];
const told = {};

const models = await client.models.list();
told.models = models.data.map((model) => model.id);

const { data, response } = await client.chat.completions.create({ model: "auto", messages }).withResponse();
told.answer = data.choices[0].message.content;
told.model = response.headers.get("x-gateway-model");

const stream = await client.chat.completions.create({
  model: "auto", messages, stream: true, stream_options: { include_usage: true },
});
told.streamed = "";
for await (const chunk of stream) {
  told.streamed += chunk.choices[0]?.delta?.content ?? "";
  told.tokens = chunk.usage?.completion_tokens ?? told.tokens;
}

told.embedding = (await client.embeddings.create({ model: "alpha", input: "x", encoding_format: "float" })).data[0].embedding;

try {
  await client.chat.completions.create({ model: "nobody", messages });
} catch (error) {
  told.refused = { name: error.constructor.name, status: error.status, code: error.code, id: error.requestID };
}

try {
  const broken = await client.chat.completions.create({
    model: "auto", messages, stream: true, mock: { truncate_at_chunk: 2 },
  });
  for await (const _ of broken) { /* the error comes while reading */ }
} catch (error) {
  told.broken = { name: error.constructor.name, code: error.code };
}

console.log(JSON.stringify(told));
