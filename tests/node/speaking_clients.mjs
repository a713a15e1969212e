// The official Node clients of the four dialects. Reads one job per line from standard input, writes one answer per line:
// {"dialect", "openai", "anthropic", "google", "key", "model", "stream"} -> {"answer"} or {"error"}.
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
import { createInterface } from "node:readline";

const QUESTION = "When is high water?";
const TOOL = { name: "tide", description: "The tide at a port" };
const SCHEMA = { type: "object", properties: { port: { type: "string" } }, required: ["port"], additionalProperties: false };

const openai = (job) => new OpenAI({ baseURL: job.openai, apiKey: job.key, maxRetries: 0 });

const speakers = {
  async openai_chat(job) {
    const request = {
      model: job.model,
      messages: [{ role: "user", content: QUESTION }],
      tools: [{ type: "function", function: { ...TOOL, parameters: SCHEMA } }],
    };
    if (!job.stream) return openai(job).chat.completions.create(request);
    return openai(job).chat.completions.stream({ ...request, stream_options: { include_usage: true } }).finalChatCompletion();
  },
  async openai_responses(job) {
    const request = {
      model: job.model,
      input: QUESTION,
      store: false,
      tools: [{ type: "function", ...TOOL, parameters: SCHEMA, strict: true }],
    };
    if (!job.stream) return openai(job).responses.create(request);
    return openai(job).responses.stream(request).finalResponse();
  },
  async anthropic_messages(job) {
    const client = new Anthropic({ baseURL: job.anthropic, apiKey: job.key, maxRetries: 0 });
    const request = {
      model: job.model,
      max_tokens: 400,
      messages: [{ role: "user", content: QUESTION }],
      tools: [{ ...TOOL, input_schema: SCHEMA }],
    };
    if (!job.stream) return client.messages.create(request);
    return client.messages.stream(request).finalMessage();
  },
  async gemini(job) {
    const client = new GoogleGenAI({ apiKey: job.key, httpOptions: { baseUrl: job.google, ...(job.version && { apiVersion: job.version }) } });
    const request = {
      model: job.model,
      contents: QUESTION,
      config: { tools: [{ functionDeclarations: [{ ...TOOL, parametersJsonSchema: SCHEMA }] }] },
    };
    if (!job.stream) return client.models.generateContent(request);
    const chunks = [];
    for await (const chunk of await client.models.generateContentStream(request)) chunks.push(chunk);
    return chunks;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  let outcome;
  try {
    outcome = { answer: await speakers[job.dialect](job) };
  } catch (error) {
    outcome = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(outcome) + "\n");
}
