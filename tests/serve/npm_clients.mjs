// Drives a scripted server with npm's clients; prints what came as one JSON object. usage: node npm_clients.mjs TOOLS_URL JSON_URL JSON_CALL_URL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.NODE_PATH}/`));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const [tools, json, jsonCall] = process.argv.slice(2);
const model = "scripted";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };

async function anthropic() {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: tools, apiKey: "none", maxRetries: 0 });
  const tool = { name: "get_weather", description: "d", input_schema: city };
  const messages = [{ role: "user", content: "Weather in Ulm?" }];
  const counted = await client.messages.countTokens({ model, messages, tools: [tool] });
  const message = await client.messages.stream({ model, max_tokens: 200, messages, tools: [tool] }).finalMessage();
  const runnable = { type: "custom", ...tool, run: async ({ city }) => `sunny in ${city}`, parse: (x) => x };
  const last = await client.beta.messages.toolRunner({ model, max_tokens: 200, messages, tools: [runnable] });
  return { counted: counted.input_tokens, stop: message.stop_reason, input: message.content.at(-1).input, last: last.content.at(-1).text };
}

async function ollama() {
  const { Ollama } = await load("ollama");
  const client = new Ollama({ host: tools });
  const tool = { type: "function", function: { name: "get_weather", description: "d", parameters: city } };
  const messages = [{ role: "user", content: "Weather in Ulm?" }];
  const first = await client.chat({ model, messages, tools: [tool] });
  const calls = first.message.tool_calls;
  const next = [...messages, first.message, { role: "tool", tool_name: "get_weather", content: "sunny" }];
  let text = "";
  for await (const part of await client.chat({ model, messages: next, tools: [tool], stream: true })) text += part.message.content;
  const generated = await client.generate({ model, prompt: "hi", options: { num_predict: 5 } });
  const listed = (await client.list()).models.map((m) => m.name);
  const embedded = await client.embed({ model, input: ["a", "b"] });
  return { call: calls[0].function, text, counted: generated.eval_count, listed, shown: (await client.show({ model })).capabilities, running: (await client.ps()).models.length, embedded: embedded.embeddings.length };
}

async function vercel() {
  const { generateText, generateObject, streamText, tool, stepCountIs, jsonSchema } = await load("ai");
  const { z } = await load("zod");
  const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
  const { createOpenAI } = await load("@ai-sdk/openai");
  const { createAnthropic } = await load("@ai-sdk/anthropic");
  const makers = (url) => {
    const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
    return {
      compatible: createOpenAICompatible({ name: "hfc", baseURL: `${url}/v1`, supportsStructuredOutputs: true })(model),
      chat: openai.chat(model), responses: openai.responses(model),
      anthropic: createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" })(model),
    };
  };
  const get_weather = tool({ description: "d", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sunny in ${city}` });
  const out = {};
  for (const [name, one] of Object.entries(makers(tools))) {
    const ask = { model: one, prompt: "Weather in Ulm?", tools: { get_weather }, stopWhen: stepCountIs(3), maxRetries: 0, maxOutputTokens: 300 };
    const done = await generateText(ask);
    const streamed = streamText(ask);
    let text = "";
    for await (const piece of streamed.textStream) text += piece;
    out[name] = { steps: done.steps.length, text: done.text, streamed: text };
  }
  const schema = z.object({ scores: z.record(z.string(), z.number()) });
  for (const [name, one] of Object.entries({ ...makers(json), anthropic: makers(jsonCall).anthropic })) {
    out[name].object = (await generateObject({ model: one, schema, prompt: "Scores?", maxRetries: 0, maxOutputTokens: 300 })).object;
  }
  return out;
}

console.log(JSON.stringify({ anthropic: await anthropic(), ollama: await ollama(), vercel: await vercel() }));
