"""Python clients that agents are made of, against a model that answers from a list: a tool turn, then the answer. Long: their imports
take seconds each. They come with the extra `clients`; each that is not there is skipped."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from serve_loopback import listening
from serve_script import call_of, scripted

from hfc.serve.app import make_app
from hfc.serve.models import Models
from hfc.serve.served import ServerSettings

QUIET = {  # nothing of these tests leaves the machine
    "OPENAI_AGENTS_DISABLE_TRACING": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "LOGFIRE_IGNORE_NO_CONFIG": "1",
    "ANONYMIZED_TELEMETRY": "false", "PYDANTIC_AI_TELEMETRY": "false",
}  # fmt: skip
pytestmark = pytest.mark.long
ANSWER = "It is sunny in Ulm."
REASON = "pip install 'hfc[clients]'"


@pytest.fixture(scope="module", autouse=True)
def nothing_leaves():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield


def url_of(*texts):
    return listening(make_app(Models([scripted(*texts)]), ServerSettings()))


@pytest.fixture(scope="module")
def tools_url():
    with url_of(call_of("get_weather", city="Ulm"), ANSWER) as url:
        yield url


@pytest.fixture(scope="module")
def json_url():
    with url_of('{"name": "Ulm", "large": false}') as url:
        yield url


def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"sunny in {city}"


def test_anthropic_tool_runner_and_parse(tools_url, json_url):
    anthropic = pytest.importorskip("anthropic", minversion="1", reason=REASON)
    pydantic = pytest.importorskip("pydantic")
    client = anthropic.Anthropic(base_url=tools_url, api_key="none", max_retries=0)
    runner = client.beta.messages.tool_runner(
        model="scripted",
        max_tokens=300,
        tools=[anthropic.beta_tool(get_weather)],
        messages=[{"role": "user", "content": "Weather in Ulm?"}],
    )
    assert list(runner)[-1].content[-1].text == ANSWER

    class City(pydantic.BaseModel):
        name: str
        large: bool

    client = anthropic.Anthropic(base_url=json_url, api_key="none", max_retries=0)
    ask = {"model": "scripted", "max_tokens": 300, "messages": [{"role": "user", "content": "A city?"}]}
    assert client.messages.parse(**ask, output_format=City).parsed_output == City(name="Ulm", large=False)


def test_ollama(tools_url, json_url):
    ollama = pytest.importorskip("ollama", reason=REASON)
    client = ollama.Client(host=tools_url)
    messages = [{"role": "user", "content": "Weather in Ulm?"}]
    first = client.chat("scripted", messages=messages, tools=[get_weather])
    (call,) = first.message.tool_calls
    assert dict(call.function.arguments) == {"city": "Ulm"}
    messages += [first.message, {"role": "tool", "tool_name": "get_weather", "content": get_weather("Ulm")}]
    parts = list(client.chat("scripted", messages=messages, tools=[get_weather], stream=True))
    assert "".join(p.message.content for p in parts) == ANSWER and parts[-1].eval_count == len(ANSWER) + 1
    assert client.list().models[0].model == "scripted" and client.ps().models[0].context_length
    assert "tools" in client.show("scripted").capabilities and len(client.embed("scripted", ["a", "b"]).embeddings) == 2
    with pytest.raises(ollama.ResponseError, match="not served"):
        client.generate("nope", "x")
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "large": {"type": "boolean"}}}
    found = ollama.Client(host=json_url).generate("scripted", "A city?", format=schema).response
    assert '"Ulm"' in found


def test_litellm_through_ollama(tools_url):
    litellm = pytest.importorskip("litellm", reason=REASON)
    answer = litellm.completion(
        "ollama_chat/scripted", api_base=tools_url, messages=[{"role": "user", "content": "x"}], max_tokens=9
    )
    assert answer.choices[0].message.content


def test_pydantic_ai(tools_url):
    pytest.importorskip("pydantic_ai", reason=REASON)
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def main():
        openai = OpenAIProvider(base_url=f"{tools_url}/v1", api_key="none")
        for kind in (OpenAIChatModel, OpenAIResponsesModel):
            agent = Agent(kind("scripted", provider=openai), tools=[get_weather])
            assert (await agent.run("Weather in Ulm?")).output == ANSWER

    asyncio.run(main())


def test_openai_agents(tools_url):
    agents = pytest.importorskip("agents", reason=REASON)
    import openai

    agents.set_tracing_disabled(True)

    async def main():  # its connections belong to one event loop
        client = openai.AsyncOpenAI(base_url=f"{tools_url}/v1", api_key="none")
        for kind in (agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel):
            model = kind(model="scripted", openai_client=client)
            agent = agents.Agent(name="a", instructions="Help.", model=model, tools=[agents.function_tool(get_weather)])
            assert (await agents.Runner.run(agent, "Weather in Ulm?")).final_output == ANSWER

    asyncio.run(main())


def test_smolagents():
    smolagents = pytest.importorskip("smolagents", reason=REASON)
    with url_of(call_of("get_weather", city="Ulm"), call_of("final_answer", answer=ANSWER)) as url:
        model = smolagents.OpenAIServerModel("scripted", api_base=f"{url}/v1", api_key="none")
        agent = smolagents.ToolCallingAgent([smolagents.tool(get_weather)], model, max_steps=3, verbosity_level=0)
        assert agent.run("Weather in Ulm?") == ANSWER


def test_instructor(json_url):
    instructor = pytest.importorskip("instructor", reason=REASON)
    import openai
    import pydantic

    class City(pydantic.BaseModel):
        name: str
        large: bool

    client = openai.OpenAI(base_url=f"{json_url}/v1", api_key="none")
    ask = {
        "model": "scripted",
        "response_model": City,
        "messages": [{"role": "user", "content": "A city?"}],
        "max_retries": 0,
    }
    for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.JSON):
        found = instructor.from_openai(client, mode=mode).chat.completions.create(**ask)
        assert found.model_dump() == {"name": "Ulm", "large": False}
    with url_of(call_of("City", name="Ulm", large=False)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        found = instructor.from_openai(client, mode=instructor.Mode.TOOLS).chat.completions.create(**ask)
        assert found.model_dump() == {"name": "Ulm", "large": False}


def test_llama_index(tools_url):
    pytest.importorskip("llama_index.llms.openai_like", reason=REASON)
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(
        model="scripted", api_base=f"{tools_url}/v1", api_key="none", is_chat_model=True, is_function_calling_model=True
    )
    question = [ChatMessage(role="user", content="Weather in Ulm?"), ChatMessage(role="assistant", content="Which Ulm?"),
                ChatMessage(role="user", content="In Germany.")]  # fmt: skip
    assert model.chat(question).message.content == ANSWER
    assert "".join(part.delta or "" for part in model.stream_chat(question)) == ANSWER


def test_llm(tmp_path):
    pytest.importorskip("llm", reason=REASON)
    with url_of(ANSWER) as url:
        text = f"- model_id: mine\n  model_name: scripted\n  api_base: {url}/v1\n  api_key_name: none\n"
        (tmp_path / "extra-openai-models.yaml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "mine", "--key", "none", "Weather?"],
            env={**os.environ, "LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.strip() == ANSWER, done.stderr


def test_aider(tmp_path):
    """aider wants older packages than others, so HFC_TEST_AIDER names its program."""
    aider = os.environ.get("HFC_TEST_AIDER")
    if not aider or not Path(aider).is_file():
        pytest.skip("HFC_TEST_AIDER names no aider")
    edit = "note.txt\n```\nhello\n```\n"
    with url_of(edit) as url:
        done = subprocess.run(
            [aider, "--model", "openai/scripted", "--no-git", "--yes-always", "--no-check-update", "--analytics-disable",
             "--no-show-model-warnings", "--no-show-release-notes", "--no-stream", "--edit-format", "whole", "--map-tokens", "0",
             "--message", "write a note", "note.txt"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENAI_API_BASE": f"{url}/v1", "OPENAI_API_KEY": "none",
                 "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "note.txt").read_text() == "hello\n", done.stdout
