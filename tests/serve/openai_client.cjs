// Drives a server with the npm package `openai`; prints what came as one JSON object. usage: node openai_client.cjs URL
const { OpenAI } = require("openai");

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0, timeout: 60000 });
const model = "smollm2";
const messages = [{ role: "user", content: "What is gravity?" }];
const city = { type: "object", properties: { city: { type: "string", maxLength: 12 } }, required: ["city"], additionalProperties: false };
const tool = { type: "function", function: { name: "get_weather", parameters: city } };

async function chat() {
  const plain = await client.chat.completions.create({ model, messages, temperature: 0, max_completion_tokens: 10 });
  const stream = await client.chat.completions.create({
    model, messages, temperature: 0, max_completion_tokens: 10, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  const runner = client.chat.completions.stream({ model, messages, temperature: 0, max_completion_tokens: 10 });
  const pieces = [];
  runner.on("content", (delta) => pieces.push(delta));
  return { plain: plain.choices[0].message.content, stream: text, usage, runner: await runner.finalContent(), pieces: pieces.join("") };
}

async function tools() {
  const choice = { type: "function", function: { name: "get_weather" } };
  const answer = await client.chat.completions.create({ model, messages, tools: [tool], tool_choice: choice, temperature: 0, max_completion_tokens: 80 });
  const [call] = answer.choices[0].message.tool_calls;
  const history = [...messages, answer.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
  const next = await client.chat.completions.create({ model, messages: history, tools: [tool], tool_choice: "none", temperature: 0, max_completion_tokens: 5 });
  return { name: call.function.name, arguments: JSON.parse(call.function.arguments), finish: answer.choices[0].finish_reason, next: next.choices[0].message.content };
}

async function responses() {
  const ask = { model, input: "Say hello.", temperature: 0, max_output_tokens: 8 };
  const plain = await client.responses.create(ask);
  const types = [];
  let text = "";
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    types.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { plain: plain.output_text, stream: text, first: types[0], last: types.at(-1) };
}

async function others() {
  const format = { type: "json_schema", json_schema: { name: "city", schema: city, strict: true } };
  const structured = await client.chat.completions.create({ model, messages, response_format: format, temperature: 0, max_completion_tokens: 60 });
  const completion = await client.completions.create({ model, prompt: "The capital of France is", temperature: 0, max_tokens: 4 });
  const embedding = await client.embeddings.create({ model, input: ["a", "b"] });
  const models = [];
  for await (const one of client.models.list()) models.push(one.id);
  let refused = null;
  try {
    await client.chat.completions.create({ model, messages: [] });
  } catch (error) {
    refused = { name: error.constructor.name, status: error.status, param: error.param };
  }
  return {
    structured: JSON.parse(structured.choices[0].message.content), completion: completion.choices[0].text,
    embedding: embedding.data.map((d) => d.embedding.length), models, refused,
  };
}

async function abort() {
  const stream = await client.chat.completions.create({ model, messages, max_completion_tokens: 500, stream: true });
  let chunks = 0;
  for await (const chunk of stream) {
    if (++chunks === 3) break;
  }
  return { chunks };
}

(async () => {
  console.log(JSON.stringify({ chat: await chat(), tools: await tools(), responses: await responses(), others: await others(), abort: await abort() }));
})();
