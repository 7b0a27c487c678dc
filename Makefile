# make run     everything, then a purchase, then it stays up     PORT VAR AMQP_URI SCALE DB PG_URI DEMO
# make demo    as run, but ends after the purchases
# make scale   instances come and go, in another terminal     orders=3 inventory=1     make restart SERVICE=orders
# make ops     sagas and dead letters: look, and act     ARGS="--help"
# make test    the tests, with a broker and a PostgreSQL of their own     ARGS="-k barrier"     make test-all: with larger bounds
# make chaos   processes are killed and stopped while customers buy; then all is counted     SECONDS SEED DB KEEP
# make support-eval   how well questions of strangers are understood     ARGS="--dev --missed"
# make support-teach   what texts mean is learned anew, after phrases or articles were changed
.PHONY: run demo status stop scale restart ops clean check test test-all chaos bench support-eval support-teach

run:    ; @scripts/python -m scripts.up
demo:   ; @scripts/python -m scripts.up --demo
status: ; @scripts/python -m scripts.control status
scale:  ; @scripts/python -m scripts.scale to $(MAKEOVERRIDES)
restart: ; @scripts/python -m scripts.scale restart $(SERVICE)
ops:    ; @scripts/python -m scripts.ops $(ARGS)
stop:   ; @scripts/python -m scripts.control stop
clean:  ; @scripts/clean
check:  ; @scripts/check
test:   ; @scripts/python -m scripts.testbed $(ARGS)
test-all: ; @scripts/python -m scripts.testbed --everything
chaos:  ; @scripts/python -m tests.chaos
support-eval: ; @scripts/python -m tests.support.evaluate $(ARGS)
support-teach: ; @scripts/python -m services.support.teaching
bench:  ; @scripts/python -m bench $(ARGS)
