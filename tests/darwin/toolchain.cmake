# tests/darwin/toolchain.cmake - CMake's side of the cross-build, see build.sh
#
# ZIG: zig's executable, which is clang, a Mach-O linker, Darwin's C headers and the list of what libSystem exports.
# DARWIN_ARCH: arm64 or x86_64.
# What no library defines stays open in the executable: build.sh holds it against tests/darwin/symbols.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG DARWIN_ARCH)
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR ${DARWIN_ARCH})

if(DARWIN_ARCH STREQUAL "arm64")
  set(zig_arch aarch64)
else()
  set(zig_arch ${DARWIN_ARCH})
endif()
# 13: the oldest macOS that is meant to run it. Names that came later are errors by -Wunguarded-availability.
set(CMAKE_C_COMPILER ${ZIG} cc -target ${zig_arch}-macos.13.0)
# zig adds UBSan to what is not optimised, and its traps are not ours.
set(CMAKE_C_FLAGS_INIT "-fno-sanitize=undefined -Wunguarded-availability")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-undefined dynamic_lookup")

# zig has no nm, and its ar is a subcommand, which CMake cannot call.
find_program(CMAKE_AR NAMES llvm-ar REQUIRED)
find_program(CMAKE_RANLIB NAMES llvm-ranlib REQUIRED)
find_program(CMAKE_NM NAMES llvm-nm REQUIRED)
# Asked for by CMake, used by installing alone, which nobody does here.
set(CMAKE_INSTALL_NAME_TOOL /bin/false)

# Nothing of this machine is for a Mac.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
