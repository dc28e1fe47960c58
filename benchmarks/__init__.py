"""Side-by-side measurements of this accountant and of the others.

``python -m benchmarks`` measures; with ``--write`` it also writes ``docs/benchmarks.md``. The
package is imported by the other accountants' environments too, so what a worker imports keeps
away from ``accountant`` unless that is what it measures.
"""
