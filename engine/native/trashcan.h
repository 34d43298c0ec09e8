/* Read before all else when mypyc's C code of the engine is compiled.
 *
 * Orders, levels and owners do without the garbage collector (`acyclic`). mypyc frees them through
 * CPython's trashcan all the same, which puts off what is freed inside many other objects by
 * writing into the collector's header in front of it. These have none: it would write over the
 * object in front. No object of the engine holds another one of its kind once it is dead, so freeing
 * never goes deep, and needs no trashcan. `python -m tests.heap` shows both.
 */
#include <Python.h>
#undef Py_TRASHCAN_BEGIN
#undef Py_TRASHCAN_END
#define Py_TRASHCAN_BEGIN(op, dealloc) do {
#define Py_TRASHCAN_END } while (0);
