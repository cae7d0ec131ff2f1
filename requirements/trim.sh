# `sh trim.sh SITE_PACKAGES`: takes out of an image what nothing of glyphq loads, a fifth of its packages.
set -e
cd "$1"

# Tests, and what C++ is compiled against.
find . -type d -name tests -prune -exec rm -rf {} +
rm -rf torch/include torch/test openvino/include pyarrow/include pyarrow/src

# PyTorch's programs: more tests, and protoc. It starts this one itself.
find . -path './torch/bin/*' -prune ! -name torch_shm_manager -exec rm -rf {} +

# OpenVINO's plugins for GPUs, on which PyTorch computes, and NPUs, and its readers of models of others than PyTorch.
rm -f openvino/libs/*_gpu_* openvino/libs/*_npu_* openvino/libs/cache.json
for format in gguf jax onnx paddle tensorflow tensorflow_lite; do
    rm -rf openvino/frontend/$format openvino/libs/libopenvino_${format}_frontend.*
done

# Arrow's clients of stores and of its RPC, encryption and ORC: each a library and what binds it to Python.
for part in azurefs flight gcsfs hdfs orc parquet_encryption pyarrow_cpp_tests s3 s3fs; do
    rm -f pyarrow/_$part.* pyarrow/_dataset_$part.* pyarrow/libarrow_$part.* pyarrow/libarrow_python_$part.*
done
# One file by three names in the wheel is three files once unpacked. The one that is loaded is libarrow_python.so.2600.
rm -f pyarrow/libarrow_python.so pyarrow/libarrow_python.so.*.*
