# What every target of the project is compiled with: link lh_options.
add_library(lh_options INTERFACE)
target_include_directories(lh_options INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_compile_definitions(lh_options INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 LH_VERSION="${PROJECT_VERSION}")
target_compile_options(lh_options INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wundef
  -Wwrite-strings -Wvla -Wformat=2 -Wno-unused-parameter -fno-common -fstack-protector-strong)
if(LH_WERROR)
  target_compile_options(lh_options INTERFACE -Werror)
endif()
if(LH_MUTATIONS)
  target_compile_definitions(lh_options INTERFACE LH_MUTATIONS)
endif()
if(LH_ASAN)
  target_compile_options(lh_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(lh_options INTERFACE -fsanitize=address,undefined)
endif()
if(LH_TSAN)
  target_compile_options(lh_options INTERFACE -fsanitize=thread -fno-omit-frame-pointer -g)
  target_link_options(lh_options INTERFACE -fsanitize=thread)
endif()
