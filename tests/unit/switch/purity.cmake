# cmake -DNM=... -DLIBRARY=... -P purity.cmake
# Fails if the library needs anything but memory at its creation: no socket, clock, log or lock, no second
# way to allocate. Names that begin with two underscores are the compiler's (sanitizers, stack protector).
set(allowed calloc free memcpy memset)

execute_process(COMMAND ${NM} ${LIBRARY} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR NOT symbols MATCHES "fdb_learn")
  message(FATAL_ERROR "cannot list the symbols of ${LIBRARY}")
endif()
string(REGEX MATCHALL " [A-TV-Za-z] [A-Za-z0-9_]+" defined "${symbols}")
string(REGEX MATCHALL " U [A-Za-z0-9_]+" needed "${symbols}")
list(TRANSFORM defined REPLACE "^ . " "")
list(TRANSFORM needed REPLACE "^ . " "")
list(REMOVE_DUPLICATES needed)
list(REMOVE_ITEM needed ${defined})
list(FILTER needed EXCLUDE REGEX "^__|^_GLOBAL_OFFSET_TABLE_$")
list(TRANSFORM needed REPLACE "^_" "") # as macOS writes C names
list(REMOVE_ITEM needed ${allowed})
if(needed)
  message(FATAL_ERROR "switch/ is pure, but needs: ${needed}")
endif()
