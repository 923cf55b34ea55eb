"""litellm and langchain-openai against SmolLM2 on loopback; they come with the extra `clients`."""

import pytest

REASON = "pip install 'hfc[clients]'"
QUESTION = [{"role": "user", "content": "What is gravity?"}]
CITY = {
    "title": "get_weather", "description": "The weather", "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": False,
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {k: v for k, v in CITY.items() if k != "title"}},
}


@pytest.fixture(scope="module", autouse=True)
def nothing_leaves():
    names = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LANGSMITH_TRACING": "false"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**names, "DO_NOT_TRACK": "1"}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def litellm():
    return pytest.importorskip("litellm", reason=REASON)


@pytest.fixture
def openai_way(smollm2_url):
    return {"model": "openai/smollm2", "api_base": f"{smollm2_url}/v1", "api_key": "none", "num_retries": 0}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_litellm_chats_in_both_dialects(litellm, smollm2_url, provider):
    base = f"{smollm2_url}/v1" if provider == "openai" else smollm2_url
    ask = {
        "model": f"{provider}/smollm2",
        "api_base": base,
        "api_key": "none",
        "temperature": 0,
        "max_tokens": 10,
        "messages": QUESTION,
    }
    answer = litellm.completion(**ask)
    text = answer.choices[0].message.content
    assert text and answer.usage.completion_tokens == 10 and answer.choices[0].finish_reason == "length"
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**ask, stream=True)]
    assert "".join(pieces) == text and len(pieces) > 3
    call = litellm.completion(
        **{**ask, "max_tokens": 80}, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}
    )
    (found,) = call.choices[0].message.tool_calls
    assert found.function.name == "get_weather" and '"city"' in found.function.arguments


def test_litellm_responses_embeddings_and_errors(litellm, openai_way):
    response = litellm.responses(**openai_way, input="Say hello.", max_output_tokens=8, temperature=0)
    assert response.output[-1].content[0].text
    embedded = litellm.embedding(**openai_way, input=["a", "b"])
    assert [len(d["embedding"]) for d in embedded.data] == [576, 576]
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**openai_way, messages=QUESTION, max_tokens=-5)
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**openai_way, messages=[{"role": "user", "content": "word " * 2000}])


@pytest.fixture(scope="module")
def langchain():
    return pytest.importorskip("langchain_openai", reason=REASON)


@pytest.fixture(scope="module", params=[False, True], ids=["chat", "responses"])
def chat(request, langchain, smollm2_url):
    return langchain.ChatOpenAI(
        base_url=f"{smollm2_url}/v1", api_key="none", model="smollm2", temperature=0, max_retries=0, timeout=60, max_tokens=120,
        use_responses_api=request.param,
    )  # fmt: skip


def test_langchain_invokes_and_streams(chat):
    answer = chat.invoke("What is gravity?")
    pieces = [chunk.text for chunk in chat.stream("What is gravity?")]
    assert answer.text and answer.text == "".join(pieces) and answer.usage_metadata["output_tokens"] <= 120


def test_langchain_binds_tools_and_takes_their_results(chat):
    bound = chat.bind_tools([TOOL], tool_choice="get_weather")
    asked = bound.invoke("The weather in Paris?")
    (call,) = asked.tool_calls
    assert call["name"] == "get_weather" and set(call["args"]) == {"city"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    assert chat.bind_tools([TOOL], tool_choice="none").invoke([("user", "The weather?"), asked, result]).text


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_structured_output(chat, method):
    assert set(chat.with_structured_output(CITY, method=method).invoke("Name a city.")) == {"city"}


def test_langchain_embeds(langchain, smollm2_url):
    embeddings = langchain.OpenAIEmbeddings(
        base_url=f"{smollm2_url}/v1", api_key="none", model="smollm2", check_embedding_ctx_length=False
    )
    vectors = embeddings.embed_documents(["a cat", "a kitten", "interest rates"])
    assert [len(v) for v in vectors] == [576] * 3 and vectors[0] == embeddings.embed_query("a cat")
