# lh_embed_lua(TARGET HEADER [COMMON FILE] SCRIPTS FILE...): builds Lua scripts for Redis into TARGET.
# NAME.lua becomes `const struct lh_script lh_script_NAME` (src/queue/script.h), with what COMMON
# holds in front of it, and HEADER declares it. Bytes go over as numbers, so no character needs care.
function(lh_embed_lua target header)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "COMMON" "SCRIPTS")
  set(declarations "")
  set(definitions "")
  set(common_text "")
  set(common_hex "")
  if(arg_COMMON)
    read_script("${arg_COMMON}" common_text common_hex)
  endif()
  foreach(script IN LISTS arg_SCRIPTS)
    get_filename_component(name "${script}" NAME_WE)
    read_script("${script}" text hex)
    string(SHA1 sha1 "${common_text}${text}")
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${common_hex}${hex}")
    string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes "${bytes}")
    string(APPEND declarations "extern const struct lh_script lh_script_${name};\n")
    string(APPEND definitions
      "static const char ${name}_text[] = {\n${bytes}0};\n"
      "const struct lh_script lh_script_${name} = {\n"
      "    \"${name}\", \"${sha1}\", ${name}_text, sizeof(${name}_text) - 1};\n\n")
  endforeach()
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/lua)
  file(CONFIGURE OUTPUT ${dir}/${header} @ONLY CONTENT
    "/* Made by cmake/lua.cmake. */\n#include \"queue/script.h\"\n\n@declarations@")
  file(CONFIGURE OUTPUT ${dir}/${header}.c @ONLY CONTENT
    "/* Made by cmake/lua.cmake. */\n#include \"${header}\"\n\n@definitions@")
  target_sources(${target} PRIVATE ${dir}/${header}.c)
  target_include_directories(${target} PUBLIC ${dir})
endfunction()

# The text of a script and its bytes in hexadecimal; CMake runs again when the file changes.
function(read_script file text hex)
  get_filename_component(path "${file}" ABSOLUTE)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
  file(READ "${path}" read_text)
  file(READ "${path}" read_hex HEX)
  set(${text} "${read_text}" PARENT_SCOPE)
  set(${hex} "${read_hex}" PARENT_SCOPE)
endfunction()
