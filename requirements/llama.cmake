# What llama-cpp-python's build leaves out for ramify. `scripts/setup` names this file in CMAKE_ARGS as
# CMAKE_PROJECT_llama_cpp_INCLUDE, so that the package itself stays as it is.

# The library of llama.cpp's own programs (chat formats, downloads, HTTP), which the binding does not use.
set(LLAMA_BUILD_COMMON OFF)

# The graphs of 150 architectures are put together once a decode at most, and optimising them takes much of the build.
# Everything else, the kernels above all, is compiled as ever.
function(optimise_graphs_less)
    if(NOT TARGET llama OR MSVC)
        return()
    endif()
    get_target_property(sources llama SOURCES)
    get_target_property(folder llama SOURCE_DIR)
    foreach(source IN LISTS sources)
        if(source MATCHES "\\.cpp$" AND NOT source MATCHES "models/")
            set_property(SOURCE ${folder}/${source} TARGET_DIRECTORY llama APPEND PROPERTY COMPILE_OPTIONS -O3)
        endif()
    endforeach()
    target_compile_options(llama PRIVATE -O1)
endfunction()
cmake_language(DEFER CALL optimise_graphs_less)
