"""Servers' errors, in the shapes that they give them: what is said of them, what is sent again, and what is billed."""

from __future__ import annotations

import json

import pytest

from img2loc.errors import LMMError, LMMRateLimitError, LMMRejectedError, LMMServerError
from img2loc.lmm import Picture, Turn, open_lmm
from img2loc.lmm.request import MAX_OUTPUT_TOKENS, Parameters
from img2loc.lmm.usage import max_usage, usage_of
from tests.fakes.openai_server import Shape
from tests.lmm.shapes import (
    ANSWER,
    HALVES,
    TOTAL,
    USAGE,
    chunk,
    completion,
    error,
    failure,
    options,
    reply,
    stream,
    upstream,
)
from tests.lmm.test_conformance import JPEG, TRIES, TURNS

pytestmark = pytest.mark.usefixtures("no_long_waits")


WORDS = [
    (400, {"detail": "bad picture"}, "(HTTP 400): bad picture."),
    (422, {"detail": [{"loc": ["body", "n"], "msg": "Field required", "input": {}}]}, ": body.n: Field required."),
    (400, {"errors": [{"code": 1, "message": "no such thing"}, "and more"]}, ": no such thing; and more."),
    (400, {"errors": {"size": ["too wide"]}}, ": errors size too wide."),
    (400, {"object": "error", "message": {"error": "inner"}}, ": inner."),
    (400, {"title": "Bad Request", "status": 400, "detail": "picture unreadable"}, ": picture unreadable."),
    (400, '"nope"', ": nope."),
    (400, "Bad things!", ": Bad things!"),
    (400, "", "rejected the request (HTTP 400)."),
    (400, upstream(json.dumps(error("The context is full."))), ": The context is full."),
    (400, upstream({"detail": "deep"}), ": deep."),
    (400, error("wide " * 2000), "): wide wide "),
    (413, "<html>\r\n<head><title>413 Too Large</title></head><body>x</body></html>", ": 413 Too Large."),
    (400, "<!DOCTYPE html><script>evil()</script><h1>The plain request</h1>", ": The plain request."),
    (400, "<html><body>oops", "rejected the request (HTTP 400)."),
    (400, "<?xml version='1.0'?><Error><Message>Access &amp; more</Message></Error>", ": Access & more."),
    (400, stream(error("bad")), ": bad."),
    (501, {"detail": "no such method"}, "rejected the request (HTTP 501): no such method."),
    (403, error("Your input was flagged"), "the model 'm' (Your input was flagged). Choose another model or key."),
    (404, {"detail": "Not Found"}, "has nothing at this address (Not Found). Check the server's address"),
    (404, "404 page not found\n", "has nothing at this address (404 page not found)."),
    (404, error("File Not Found", code=404), "has nothing at this address (File Not Found)."),
    (404, error("Invalid URL (POST /chat/completions)"), "has nothing at this address (Invalid URL"),
    (404, error("No endpoints found for a/b."), "has no model 'm' (No endpoints found for a/b)."),
    (404, error("model m not found"), "has no model 'm' (model m not found)."),
    (200, {"error": "Unexpected endpoint or method. (POST /x)"}, "has nothing at this address (Unexpected endpoint"),
    (401, error("User not found.", code=401), "rejected the key (User not found)."),
    (400, {"code": "invalid", "error": "Incorrect API key provided: sk***12."}, "rejected the key (Incorrect API key"),
    (400, [error("API key expired. Please renew the API key.", code=400)], "rejected the key (API key expired."),
    (403, [error("Your API key was reported as leaked.", code=403)], "rejected the key (Your API key was"),
    (400, error("Your credit balance is too low to access the API."), "no credit left at 127.0.0.1"),
    (429, error("Insufficient balance. Please recharge.", code="1113"), "has no credit left at 127.0.0.1"),
    (402, {"detail": "Payment required"}, "(Payment required). Top it up, or use another key."),
]


@pytest.mark.parametrize(("status", "body", "words"), WORDS)
def test_a_servers_own_words_are_quoted_and_what_is_final_is_asked_once(server, status, body, words):
    failed = failure(server, Shape(status, body))
    assert type(failed) is LMMRejectedError and words in str(failed) and "<" not in str(failed)
    assert len(server.requests) == 1 and len(str(failed)) < 400


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", "(HTTP 502): 502 Bad Gateway. Try again"),
        (503, error("Loading model", code=503), "(HTTP 503): Loading model. Try again"),
        (503, "", "(HTTP 503). Try again"),
        (500, {"error": "out of memory"}, "(HTTP 500): out of memory. Try again"),
    ],
)
def test_what_may_pass_is_tried_again_and_quoted_in_the_end(server, status, body, words):
    failed = failure(server, Shape(status, body))
    assert type(failed) is LMMServerError and words in str(failed) and len(server.requests) == TRIES


def test_the_wait_that_gemini_asks_for_in_the_body_is_kept(server):
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "43.2s"}]
    failed = failure(server, Shape(429, [error("You exceeded your current quota.", code=429, details=details)]))
    assert type(failed) is LMMRateLimitError and "try again in 44 seconds" in str(failed) and len(server.requests) == 1


CAN_NOT_SEE = [
    (404, error("No endpoints found that support image input", code=404)),
    (400, error("this model does not support image input (ref: b8bd630e)")),
    (500, error("this model is missing data required for image input")),
    (400, error("json: cannot unmarshal array into Go struct field Message.messages.content of type string")),
    (400, {"object": "error", "message": "/models/Qwen3-8B is not a multimodal model", "code": 400}),
    (400, error("At most 0 image(s) may be provided in one prompt.")),
    (500, error("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj")),
    (400, {"error": "Model does not support images. Please use a model that does."}),
    (400, error("Failed to deserialize: messages[0]: unknown variant `image_url`, expected `text` at line 1")),
    (422, error("messages[2]: invalid type: sequence, expected a string at line 1 column 2901")),
    (400, error("messages[0].content must be a string")),
    (400, error("for 'role:user' the following must be satisfied[('messages.0.content' : value must be a string)]")),
    (400, error("Invalid content type. image_url is only supported by certain models.")),
    (400, {"object": "error", "message": "Image input is not enabled for this model", "code": "3051"}),
    (400, [error("Image input modality is not enabled for models/gemma-3-1b-it", code=400)]),
    (400, error("'claude-2.1' does not support image input.")),
    (400, error("messages.content.type 参数非法, 取值范围 ['text']")),
    (400, error("该模型不支持图片输入")),
    (400, error("Image inputs are not supported by this model.")),
    (400, error("This model doesn't support the image content block that you provided.")),
    (400, error('can only concatenate str (not "list") to str')),
    (400, error("The model x does not support multimodal inputs")),
    (400, error("Content type 'image_url' is not supported.")),
    (400, error("This model only supports text input")),
    (400, error("Vision is not supported for this model")),
    (400, {"detail": "The selected model cannot process images"}),
    (500, {"error": "this model does not have vision capabilities"}),
    (500, error("unsupported content[].type", code=500)),
    (200, upstream("x is not a vision model")),
    *(
        (400, error(words))
        for words in (
            "image content is not supported",
            "image_url is not allowed",
            "Content type image_url is not supported, only text",
            "'image_url' content is not supported by the model",
            "Input validation error: image inputs not supported",
            "This model does not have image input support",
            "Model is text-only",
            "this is a text-only model",
            "limit_mm_per_prompt is only supported for multimodal models.",
            "Invalid request: image input not supported for this model",
            "model kimi-k2 doesn't support images",
            "image not supported",
            "Images are not supported",
            "Unsupported content type: image_url",
            "Unsupported message content type 'image_url'",
            "The model does not accept images",
            "No vision support",
            "This model is not capable of processing images",
            "Model qwen3 cannot handle image input",
            "multimodal is not supported by this model",
            "The requested model does not support the modality: image",
            "Unsupported modality: image",
            "Input modality 'image' is not supported",
            "Invalid value: 'image_url'. Supported values are: 'text'.",
            "Invalid 'content': 'content' field must be a string",
            "messages.0.content: Input should be a valid string",
            "body.messages.0.content.str: Input should be a valid string",
            "expected string, received array",
            "content must be of type string",
            "Model 'x' is not multimodal",
            "The model `x` is not a vision-language model",
            "messages with images are not supported",
            "This endpoint does not support images",
            "image_url unsupported",
            "vision not enabled",
            "Your model does not support image_url message content",
            "mmproj is required",
            "Loaded model has no vision adapter",
            "failed to process image: model does not support vision",
            "Not a VLM",
        )
    ),
]


@pytest.mark.parametrize(("status", "body"), CAN_NOT_SEE)
def test_a_model_that_cannot_see_is_said_to_be_one_in_the_servers_words_and_asked_once(server, status, body):
    failed = failure(server, Shape(status, body))
    assert type(failed) is LMMRejectedError and len(server.requests) == 1
    assert str(failed).startswith("The model 'm' at 127.0.0.1") and "can't see photos (" in str(failed)


@pytest.mark.parametrize(
    "words",
    [
        "You uploaded an unsupported image. Please make sure your image has one of these formats.",
        "Image URL is not supported, use base64",
        "This model does not support image format webp",
        "Model supports at most 1 image per prompt.",
        "At most 1 image(s) may be provided in one request.",
        "The image type is not supported: image/jpeg",
        "Could not process image",
        "Unsupported image format",
        "Unsupported image type: image/webp",
        "image exceeds 5 MB maximum",
        "The image is not supported format",
        "Image is not a valid JPEG",
        "Invalid image url",
        "The image dimensions exceed the limit",
        "Failed to download image",
        "image generation is not supported",
        "images are limited to 1 per request",
        "Too many images",
        "this model does not support response_format",
        "This model does not support temperature",
        "response_format is not supported with image input",
        "Image was rejected by our safety system",
        "The image could not be decoded",
        "You cannot use image detail high with this model",
        "image data is not valid base64",
        "does not support multiple images",
        "Only one image is supported",
        "The model 'a/Llama-Vision-Instruct' is not supported by any provider you have enabled.",
        "The model `llama-3.2-11b-vision-preview` has been decommissioned and is no longer supported.",
        "model 'llama3.2-vision' not found, try pulling it first",
        "temperature is not supported for vision models",
        "User location is not supported for the API use.",
        "The image is too small",
        "model my-vision is not supported",
        "context length exceeded by image tokens",
    ],
)
def test_a_model_that_minds_one_picture_only_is_not_said_to_be_blind(server, words):
    assert words.rstrip(".") in str(failure(server, Shape(400, error(words))))
    assert "can't see" not in str(failure(server, Shape(400, error(words))))


FORMAT, LIMIT = "response_format", "max_completion_tokens"
ECHO = {"loc": ["body", "messages"], "msg": "Field required", "input": {FORMAT: {}, "temperature": 1, LIMIT: 8000}}


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        (FORMAT, 400, {"error": "'response_format.type' must be 'json_object'"}),
        (FORMAT, 400, error("This model does not support response format `json_object`.")),
        (
            FORMAT,
            400,
            [error("Unknown name \"additionalProperties\" at 'generation_config.response_schema'", code=400)],
        ),
        (FORMAT, 422, {"detail": [{"loc": ["body", FORMAT], "msg": "Extra inputs are not permitted", "input": {}}]}),
        (FORMAT, 400, upstream(json.dumps(error("structured outputs are not available")))),
        (FORMAT, 400, "response_format is unsupported"),
        (FORMAT, 200, error("response_format is not supported", code=400)),
        (FORMAT, 501, {"detail": "grammar not implemented"}),
        (LIMIT, 422, {"detail": [{"loc": ["body", LIMIT], "msg": "Extra inputs are not permitted", "input": 8000}]}),
        (LIMIT, 400, error("Unknown parameter", param=LIMIT, code="unknown_parameter")),
        (LIMIT, 400, [error("bad", details=[{"fieldViolations": [{"field": LIMIT}]}])]),
        (LIMIT, 400, {"errors": {LIMIT: ["unknown"]}}),
        (LIMIT, 200, {"error": "Unrecognized request argument supplied: max_completion_tokens"}),
        ("temperature", 400, {"message": "temperature is not supported"}),
        ("temperature", 422, {"detail": [{"loc": ["body", "temperature"], "msg": "must be 1"}]}),
        ("temperature", 400, upstream({"error": {"param": "temperature"}})),
    ],
)
def test_a_parameter_that_a_server_refuses_in_any_shape_is_left_out(server, name, status, body):
    assert reply(server, Shape(status, body, if_request_has=name), temperature=0.2).text == ANSWER
    assert len(server.requests) == 2 and name not in server.requests[1].body
    kept = {FORMAT, "temperature"} - {name}
    assert kept <= set(server.requests[1].body)


def test_what_a_server_echoes_of_the_request_is_no_complaint(server):
    failure(server, Shape(422, {"detail": [ECHO]}), temperature=0.2)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens: 8000 > 4096, which is the maximum allowed number of output tokens",
        "`max_tokens` must be less than or equal to `4096`",
        "Range of max_tokens should be [1, 4096]",
        "`inputs` tokens + `max_new_tokens` must be <= 4097",
        "max_tokens must be in the supported range from 1 to 4097",
    ],
)
def test_a_limit_that_is_too_high_is_lowered(words):
    assert Parameters().without(words) == Parameters(limit=1000)


PAID = {"usage": USAGE}
STREAM_ERROR = {**error("slow", code=429), **chunk({"content": ""}, "error")}


@pytest.mark.parametrize(
    ("body", "kind", "requests", "is_billed", "tokens"),
    [
        (upstream("Too Many Requests", 429), LMMRateLimitError, TRIES, False, None),
        (error("slow down", code="429"), LMMRateLimitError, TRIES, False, None),
        ({"type": "error", **error("Slow", type="rate_limit_error")}, LMMRateLimitError, TRIES, False, None),
        ({**error("slow", code=429), **PAID}, LMMRateLimitError, TRIES, True, 5),
        (error("No credit", code=402), LMMRejectedError, 1, False, None),
        (error("bad key", code=401), LMMRejectedError, 1, False, None),
        (error("timed out", code=408), LMMServerError, TRIES, True, None),
        (error("down", code=502), LMMServerError, TRIES, True, None),
        (error("failed", code=500), LMMServerError, TRIES, True, None),
        (error("Overloaded", type="overloaded_error"), LMMServerError, TRIES, True, None),
        (error("something odd"), LMMRejectedError, 1, True, None),
        ({"object": "error", "message": "no model x", "code": 404}, LMMRejectedError, 1, False, None),
        (completion({"content": "48.8"}, "error"), LMMServerError, TRIES, True, 5),
        (completion({"content": ANSWER}, "network_error"), LMMServerError, TRIES, True, 5),
        ({"choices": [{**error("died", code=502), "message": {"content": "48"}}]}, LMMServerError, TRIES, True, None),
        (stream(HALVES[0], STREAM_ERROR, TOTAL), LMMRateLimitError, TRIES, True, 5),
        (stream(error("No credit", code=402)), LMMRejectedError, 1, False, None),
        (stream(HALVES[0], {"object": "error", "message": "boom", "code": 400}), LMMRejectedError, 1, False, None),
        ('error: {"code": 500, "message": "boom"}\n\n', LMMServerError, TRIES, True, None),
        ("data: [DONE]\n\n", LMMError, 1, True, None),
        (f"data: {json.dumps(chunk({'content': '48.8584, 2'}))}\n\n", LMMServerError, TRIES, True, None),
        (
            'event: error\ndata: {"type": "error", "error": {"type": "rate_limit_error"}}',
            LMMRateLimitError,
            TRIES,
            False,
            None,
        ),
        ({"choices": [], **PAID}, LMMError, 1, True, 5),
        (completion(None), LMMError, 1, True, 5),
    ],
)
def test_an_error_inside_http_200_is_that_error(server, body, kind, requests, is_billed, tokens):
    failed = failure(server, Shape(200, body))
    assert (type(failed), failed.may_be_billed, failed.output_tokens) == (kind, is_billed, tokens)
    assert len(server.requests) == requests
    assert usage_of(failed, max_usage(TURNS)).output_tokens == ((tokens or MAX_OUTPUT_TOKENS) if is_billed else 0)
    server.requests.clear()
    failure(server, Shape(200, body), resend_billed=False)
    assert len(server.requests) == (1 if is_billed else requests)


@pytest.mark.parametrize("body", [upstream("Too Many Requests", 429), error("down", code=503), stream(STREAM_ERROR)])
def test_an_error_inside_http_200_that_passes_is_not_noticed(server, body):
    assert reply(server, Shape(200, body), Shape(200, completion({"content": ANSWER}))).text == ANSWER
    assert len(server.requests) == 2


def test_what_may_be_billed_is_not_sent_again_without_a_parameter_either(server):
    shape = Shape(200, error("response_format is not supported"), if_request_has=FORMAT)
    failed = failure(server, shape, resend_billed=False)
    assert failed.may_be_billed and len(server.requests) == 1
    assert reply(server, shape).text == ANSWER


def test_pictures_are_left_out_before_a_model_is_said_to_be_blind(server):
    turns = (Turn("user", "Where is this?", pictures=(Picture("A", "https://example.org/a.jpg"),)),)
    server.shapes = [Shape(400, error("This model does not support image URLs"))]
    with pytest.raises(LMMRejectedError):
        open_lmm("openai", options(server)).reply(turns, JPEG)
    assert [len(request.body["messages"][0]["content"]) for request in server.requests] == [4, 2]
