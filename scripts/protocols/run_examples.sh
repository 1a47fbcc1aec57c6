# Run the base-to-new protocol on all data sets on one GPU, as in MMA's repository. ImageNet uses larger batches.
[[ $# -eq 2 ]] || usage "GPU SEED"
export CUDA_VISIBLE_DEVICES=$1
for dataset in caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101 imagenet; do
  examples=vit_b16_ep5
  if [[ $dataset = imagenet ]]; then examples=vit_b16_ep5_imnet; fi
  for part in train test; do CFG= bash "$folder/base2new_$part.sh" "$dataset" "$2" "$examples"; done
done
