"""What the public OpenAI client sees of a served model; one line per finding, `PASS  …` or `FAIL  …`.

usage: openai-client.py ADDRESS PICTURE
"""
import base64
import sys
import threading

import openai

address, picture = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=120)
model = client.models.list().data[0].id
data = base64.b64encode(open(picture, "rb").read()).decode()
seen = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
]
failed = 0


def say(name, good, why=""):
    global failed
    failed += not good
    print(f"PASS  {name}" if good else f"FAIL  {name}: {why}")


def ask(content, **more):
    settings = dict(model=model, max_tokens=16, temperature=0) | more
    return client.chat.completions.create(messages=[{"role": "user", "content": content}], **settings)


def answer(content, **more):
    return ask(content, **more).choices[0].message.content


def streamed(content, **more):
    parts, usage = [], None
    for event in ask(content, stream=True, stream_options={"include_usage": True}, **more):
        usage = event.usage or usage
        parts += [choice.delta.content or "" for choice in event.choices]
    return "".join(parts), len(parts), usage


for name, content in (("text", "Hello"), ("a picture", seen)):
    whole = ask(content)
    text, events, usage = streamed(content)
    say(f"{name}: the stream gives the answer in pieces", text == whole.choices[0].message.content and events > 2,
        f"{text!r} in {events} events, at once {whole.choices[0].message.content!r}")
    say(f"{name}: both count the same tokens", usage == whole.usage, f"{usage} and {whole.usage}")
say("the picture stands in the prompt", ask(seen).usage.prompt_tokens > ask("What is this?").usage.prompt_tokens + 4)
chosen = ask("Hello", n=2, seed=3, temperature=1.0, logprobs=True, top_logprobs=3).choices
say("two answers with probabilities", len(chosen) == 2 and len(chosen[0].logprobs.content[0].top_logprobs) == 3)

questions = ["Question 1", "Question 2", seen, "Question 3", "A longer question, of more words than these"]
alone = [answer(content) for content in questions]
together = [None] * 50


def go(index):
    content = questions[index % len(questions)]
    together[index] = streamed(content)[0] if index % 2 else answer(content)


threads = [threading.Thread(target=go, args=(index,)) for index in range(len(together))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
wrong = [i for i, text in enumerate(together) if text != alone[i % len(questions)]]
say("50 requests at once, streamed and whole, get the answers of one at a time", not wrong, f"requests {wrong}")


def refused(name, call):
    try:
        call()
        say(name, False, "accepted")
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        say(f"{name}: {error.status_code}", 400 <= error.status_code < 500 and body.get("message"), error.body)


def image(address):
    return [{"type": "image_url", "image_url": {"url": address}}]


refused("no message", lambda: client.chat.completions.create(model=model, messages=[]))
refused("another model", lambda: ask("Hello", model="gpt-nothing"))
refused("a negative temperature", lambda: ask("Hello", temperature=-1))
refused("a setting the engine does not have", lambda: ask("Hello", frequency_penalty=1.0))
refused("a prompt longer than the model", lambda: ask("word " * 400_000))
refused("a picture that is none", lambda: ask(image("data:image/png;base64,AAAA")))
refused("a picture that is cut off", lambda: ask(image(f"data:image/jpeg;base64,{data[:400]}")))
refused("base64 that is none", lambda: ask(image("data:image/jpeg;base64,%%%")))
refused("a path in place of a picture", lambda: ask(image("file:///etc/passwd")))
refused("a role nobody has", lambda: client.chat.completions.create(
    model=model, messages=[{"role": "nobody", "content": "x"}]))
refused("a path nobody serves", lambda: client.embeddings.create(model=model, input="x"))
say("it still answers as before", answer("Question 1") == alone[0])
sys.exit(failed > 0)
