"""The shell scripts: from any folder, with two arguments, and never twice."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from tests.conftest import ROOT, SMALL_CONFIG, bare, random_clip

pytestmark = pytest.mark.timeout(360)  # several programs one behind the other

SCRIPTS = sorted((ROOT / "scripts").rglob("*.sh"))


@pytest.fixture
def bash(eurosat_root, clip_file, tmp_path):
    """Runs a script from another working directory, with a config of its own."""
    (tmp_path / "only_for_tests.yaml").write_text(SMALL_CONFIG)

    def run(script, *arguments, **env):
        return subprocess.run(
            ["bash", str(ROOT / "scripts" / script), *map(str, arguments)],
            cwd=tmp_path,
            text=True,
            timeout=300,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHON": sys.executable,
                "DATA": "data",
                "OUT": "results",
                "CFG": "./only_for_tests.yaml",
                "SHOTS": "2",
                **env,
            },
        )

    return run


def options(clip_file):
    return ["1", *bare(clip_file)]  # one epoch


@pytest.mark.slow
def test_base_to_new_runs_once_and_resumes_what_has_no_result(bash, clip_file, tmp_path):
    train = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file))
    assert train.returncode == 0, train.stdout
    folder = tmp_path / "results/base2new/train_base/eurosat/shots_2/MPL/only_for_tests/seed1"
    assert (folder / "result.json").is_file()
    again = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file))
    assert again.stdout.splitlines()[-1].startswith("Finished before: ")

    (folder / "result.json").unlink()
    early = bash("mpl/base2new_test.sh", "eurosat", 1, *bare(clip_file))
    assert early.returncode == 2
    assert "the training is not finished" in early.stdout
    again = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file))
    assert "is trained already (1 epochs): nothing to train, testing again" in again.stdout
    assert (folder / "result.json").is_file()

    test = bash("mpl/base2new_test.sh", "eurosat", 1, *bare(clip_file))
    assert test.returncode == 0, test.stdout
    result = tmp_path / "results/base2new/test_new/eurosat/shots_2/MPL/only_for_tests/seed1/result.json"
    assert result.is_file()
    before = result.read_bytes()
    again = bash("mpl/base2new_test.sh", "eurosat", 1, *bare(clip_file))
    assert again.stdout.splitlines()[-1].startswith("Finished before: ")
    assert result.read_bytes() == before


@pytest.mark.slow
def test_finished_run_with_other_options_is_refused(bash, clip_file, tmp_path):
    """Never the old number for a new question."""
    assert bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file), "OPTIM.LR", "0.001").returncode == 0
    folder = tmp_path / "results/base2new/train_base/eurosat/shots_2/MPL/only_for_tests/seed1"
    other = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file), "OPTIM.LR", "0.01")
    assert other.returncode == 2
    assert other.stdout.splitlines()[-1] == (
        f"error: {folder} holds a different finished run (OPTIM.LR 0.001 -> 0.01): "
        "give another output folder, or delete that folder to run again"
    )
    torch.save(random_clip(7, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    clip = bash("mpl/base2new_train.sh", "eurosat", 1, *options(tmp_path / "other.pt"), "OPTIM.LR", "0.001")
    assert clip.returncode == 2
    assert "holds a different finished run (CLIP 2:" in clip.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"),
    [("SEED", "2"), ("DATASET.NUM_SHOTS", "4"), ("DATASET.SUBSAMPLE_CLASSES", "all")],
)
def test_option_must_agree_with_the_folder_that_the_script_names(bash, clip_file, key, value):
    done = bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file), key, value)
    assert done.returncode == 2
    assert f"error: {key} is {value}, but the output folder is for " in done.stdout


@pytest.mark.slow
def test_cross_data_set_runs(bash, clip_file, tmp_path):
    assert bash("mpl/xd_train.sh", "eurosat", 1, *options(clip_file)).returncode == 0
    test = bash("mpl/xd_test.sh", "eurosat", 1, *options(clip_file), SOURCE="eurosat")
    assert test.returncode == 0, test.stdout
    tail = "MPL/only_for_tests_2shots/seed1/result.json"
    assert (tmp_path / "results/crossdataset/eurosat" / tail).is_file()
    assert (tmp_path / "results/crossdataset/evaluation/eurosat" / tail).is_file()


@pytest.mark.slow
def test_few_shot_run(bash, clip_file, tmp_path):
    done = bash("mpl/few_shot.sh", "eurosat", 1, 1, "OPTIM.MAX_EPOCH", "1", *bare(clip_file))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "results/eurosat/MPL/eval/only_for_tests_1shots/seed1/result.json").is_file()


def test_failing_run_fails_the_script(bash):
    done = bash("mpl/base2new_train.sh", "nothing", 1)
    assert done.returncode == 2
    assert done.stdout.startswith("error: there is no data set 'nothing' (known: caltech101 (Caltech101), ")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dtd", "dtd"),
        ("DescribableTextures", "dtd"),
        ("eurosat", "eurosat"),
        ("SUN397", "sun397"),
        ("Imagenet_A", "imagenet_a"),
    ],
)
def test_scripts_take_both_names_of_a_data_set(typed, name, config):
    (line,) = typed("mpl/base2new_train.sh", name, 1)
    assert f"/train_base/{config}/shots_16/" in line
    assert f"/configs/datasets/{config}.yaml " in line


def test_unknown_data_set_gets_the_nearest(bash):
    for words in (
        ["coop/main.sh", "eurosta", "rn50", "end", 16, 1, "False"],
        ["trainersupernet/launch_nas.sh", "eurosta", "o", 1, 16],
    ):
        done = bash(*words)
        assert done.returncode == 2
        assert "there is no data set 'eurosta'; did you mean 'eurosat'?" in done.stdout.replace(
            "EuroSAT'?", "eurosat'?"
        )


def test_test_across_data_sets_names_source_in_its_usage(bash):
    assert "SOURCE=imagenet" in bash("mpl/xd_test.sh").stdout
    done = bash("mpl/xd_test.sh", "eurosat", 1, SOURCE="nothing")
    assert done.returncode == 2
    assert "there is no data set 'nothing'" in done.stdout


LINKS = [path for path in SCRIPTS if path.is_symlink()]


def test_only_links_stand_in_the_folders_of_methods():
    assert {path.name for path in SCRIPTS if path.parent == ROOT / "scripts"} == {
        "common.sh",
        "demo.sh",
        "methods.sh",
        "run.sh",
    }
    inner = [path for path in SCRIPTS if path.parent.parent == ROOT / "scripts" and path.parent.name != "protocols"]
    assert inner == LINKS
    assert all(path.readlink().as_posix() == "../run.sh" for path in LINKS)
    rows = yaml.safe_load((ROOT / "configs" / "trainers.yaml").read_text()).values()
    own = {row["scripts"] for row in rows if "scripts" in row}
    assert {path.parent.name for path in LINKS} == {*own, "language-prompting", "kdpl"}


WITH_ARGUMENTS = [path for path in LINKS if path.name not in ("reproduce.sh", "cross_datasets_train.sh")]


@pytest.mark.cover(40)
@pytest.mark.parametrize("path", WITH_ARGUMENTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_method_script_explains_itself(path):
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: scripts/{path.parent.name}/{path.name} ")


@pytest.mark.cover(10)
@pytest.mark.parametrize(
    ("script", "trainer", "config"),
    [
        ("mpl/base2new_train.sh", "MPL", "MPL/vit_b4_c1_add2_rm1"),
        ("mpl/xd_train.sh", "MPL", "MPL/vit_b4_c1_add2_rm1_cross_datasets"),
        ("coop/base2new_train.sh", "CoOp", "CoOp/vit_b16_ctxv1"),
        ("coop/xd_train.sh", "CoOp", "CoOp/vit_b16_ep50_ctxv1"),
        ("cocoop/base2new_train.sh", "CoCoOp", "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1"),
        ("kgcoop/base2new_train.sh", "KgCoOp", "KgCoOp/vit_b16_ep100_ctxv1"),
        ("tcp/base2new_train.sh", "TCP", "TCP/vit_b16_ep100_ctxv1"),
        ("clip_lora/base2new_train.sh", "CLIPLoRA", "CLIPLoRA/vit_b16"),
        ("dept/base2new_train.sh", "ExtrasLinearProbeCoOp", "ExtrasLinearProbeCoOp/vit_b16_ep10_bs4_lr35"),
        ("kdpl/base2new_train.sh", "CoOp", "CoOp_KDPL/vit_b32_ctxv1"),
        ("prograd/base2new_train.sh", "ProGrad", "ProGrad/rn50_ep100"),
        ("prograd/few_shot.sh", "ProGrad", "ProGrad/rn50"),
        ("prograd/xd_train.sh", "ProGrad", "ProGrad/rn50_ep50"),
        ("maple/base2new_train_maple.sh", "MaPLe", "MaPLe/vit_b16_c2_ep5_batch4_2ctx"),
        ("maple/xd_train_maple.sh", "MaPLe", "MaPLe/vit_b16_c2_ep5_batch4_2ctx_cross_datasets"),
        ("independent-vlp/base2new_train_ivlp.sh", "IVLP", "IVLP/vit_b16_c2_ep5_batch4_2+2ctx"),
        ("language-prompting/base2new_train_lp.sh", "IVLP", "IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only"),
        ("vpt/base2new_train_vpt.sh", "VPT", "VPT/vit_b16_c2_ep5_batch4_4"),
        ("promptsrc/base2new_train.sh", "PromptSRC", "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx"),
        ("promptkd/base2new_train.sh", "PromptKD", "PromptKD/vit_b16_c2_ep20_batch8_4+4ctx"),
        ("promptkd/xd_train.sh", "PromptKD", "PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets"),
        ("promptkd/teacher_train.sh", "PromptSRC", "PromptSRC/vit_l14_c2_ep20_batch8_4+4ctx"),
        ("promptsrc/xd_train.sh", "PromptSRC", "PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets"),
        ("promptsrc/few_shot.sh", "PromptSRC", "PromptSRC/vit_b16_c2_ep50_batch4_4+4ctx_few_shot"),
        ("lpplusplus/few_shot.sh", "LPPlusPlus", "LPPlusPlus/vit_b16_ep300"),
        ("adapter/base2new_train.sh", "ADAPTER", "ADAPTER/SGD_lr1e-1_B256_ep300"),
        ("tip_adapter/few_shot.sh", "TipAdapter", "TipAdapter/vit_b16"),
        ("clip_adapter/base2new_train.sh", "CLIP_Adapter", "CLIP_Adapter/vit_b16"),
        ("taskres/xd_train.sh", "TaskRes", "TaskRes/generalization_vit16"),
        ("zsclip/zeroshot.sh", "ZeroshotCLIP", "CoOp/vit_b16"),
        ("zsclip/base2new.sh", "ZeroshotCLIP", "CoOp/vit_b16"),
    ],
)
def test_script_takes_the_methods_trainer_and_config(typed, script, trainer, config):
    for line in typed(script, "eurosat", 1) if "zeroshot" not in script else typed(script, "eurosat"):
        assert f"--trainer {trainer} " in line
        path = ROOT / "configs" / "trainers" / f"{config}.yaml"
        assert f"--config-file {path} " in line
        assert path.is_file()


def test_main_runs_three_seeds_and_eval_reads_them(typed, tmp_path):
    lines = typed("coop/main.sh", "eurosat", "rn50", "middle", 16, 4, "True")
    assert len(lines) == 3
    for seed, line in enumerate(lines, start=1):
        assert f"--seed {seed} " in line
        assert f"/results/eurosat/CoOp/rn50_4shots/nctx16_cscTrue_ctpmiddle/seed{seed} " in line
        assert "TRAINER.COOP.CSC True TRAINER.COOP.CLASS_TOKEN_POSITION middle DATASET.NUM_SHOTS 4" in line
    for seed in (1, 2, 3):
        trained = tmp_path / f"results/imagenet/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed{seed}"
        trained.mkdir(parents=True)
        (trained / "result.json").write_text("{}")
    lines = typed("coop/eval.sh", "imagenetv2", "rn50")
    assert [f"--model-dir {tmp_path}/results/imagenet/CoOp/rn50_16shots/" in line for line in lines] == [True] * 3


def test_scripts_of_claps_reference(typed, tmp_path):
    lines = typed(
        "adapter/adapt.sh", 0, "eurosat", "SGD_lr1e-1_B256_ep300", 4, "ZS", "none", "ViT-B/32", "OPTIM.LR", "1"
    )
    head = "SGD_lr1e-1_B256_ep300_ZSInit_noneConstraint_4shots/ViT-B-32"
    asked = "DATASET.NUM_SHOTS 4 TRAINER.ADAPTER.INIT ZS TRAINER.ADAPTER.CONSTRAINT none MODEL.BACKBONE.NAME ViT-B/32"
    assert len(lines) == 3
    for seed, line in enumerate(lines, start=1):
        assert f"--seed {seed} --output-dir {tmp_path}/results/eurosat/ADAPTER/{head}/seed{seed} " in line
        assert line.endswith(f"{asked} OPTIM.LR 1")
        trained = tmp_path / f"results/eurosat/ADAPTER/{head}/seed{seed}"
        trained.mkdir(parents=True)
        (trained / "result.json").write_text("{}")
    tests = typed("adapter/eval.sh", 0, "eurosat", "dtd", "SGD_lr1e-1_B256_ep300", 4, "ZS", "none", "ViT-B/32")
    for seed, line in enumerate(tests, start=1):
        assert f"--eval-only --model-dir {tmp_path}/results/eurosat/ADAPTER/{head}/seed{seed} {asked}" in line
        assert "/configs/datasets/dtd.yaml " in line


def test_tasks_of_lpplusplus_are_seeds_of_which_the_mean_is_taken(typed, tmp_path):
    *lines, mean = typed("lpplusplus/tasks.sh", "eurosat", 4, 2, "OPTIM.LR", "1")
    folders = [f"{tmp_path}/results/eurosat/LPPlusPlus/tasks/vit_b16_ep300_4shots/seed{seed}" for seed in (1, 2)]
    assert mean == f"modprompt.experiments.reporting.tasks {' '.join(folders)}"
    for seed, line in enumerate(lines, start=1):
        assert f"--trainer LPPlusPlus --seed {seed} --output-dir {folders[seed - 1]} " in line
        node = "TRAINER.LPPLUSPLUS."
        asked = f"DATASET.NUM_SHOTS 4 {node}BEST_EPOCH_ON as many {node}LATEST_BEST True OPTIM.LR 1"
        assert line.endswith(asked)
    assert len(typed("lpplusplus/tasks.sh", "eurosat", 4)) == 11


def test_scripts_of_prograds_reference(typed, tmp_path):
    lines = typed("prograd/prograd.sh", "eurosat", "rn50_ep100", "end", 16, 4, "False")
    for seed, line in enumerate(lines, start=1):
        assert f"--seed {seed} " in line
        assert f"/results/eurosat/ProGrad/rn50_ep100_4shots/nctx16_cscFalse_ctpend/seed{seed} " in line
        assert "TRAINER.PROGRAD.N_CTX 16 TRAINER.PROGRAD.CSC False TRAINER.PROGRAD.CLASS_TOKEN_POSITION end " in line
    assert len(lines) == 3
    lines = typed("prograd/base2new_train_prograd.sh", "eurosat", "OPTIM.MAX_EPOCH", 1)
    assert len(lines) == 3
    for seed, line in enumerate(lines, start=1):
        folder = tmp_path / f"results/base2new/train_base/eurosat/shots_4/ProGrad/rn50_ep100/seed{seed}"
        assert f"--output-dir {folder} " in line
        assert line.endswith("DATASET.NUM_SHOTS 4 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 1")
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        trained = tmp_path / f"results/imagenet/ProGrad/rn50_ep50_4shots/nctx16_cscFalse_ctpend/seed{seed}"
        trained.mkdir(parents=True)
        (trained / "result.json").write_text("{}")
    lines = typed("prograd/base2new_test_prograd.sh", "eurosat")
    assert ["/test_new/eurosat/shots_4/ProGrad/" in line and "--eval-only" in line for line in lines] == [True] * 3
    lines = typed("prograd/eval.sh", "imagenetv2", "rn50_ep50")
    assert ["/results/evaluation/ProGrad/rn50_ep50_4shots/" in line for line in lines] == [True] * 3


@pytest.mark.parametrize(("folder", "trainer"), [("mmrl", "MMRL"), ("mmrlpp", "MMRLpp")])
def test_scripts_of_mmrls_reference(folder, trainer, typed, tmp_path):
    published = f"TRAINER.{trainer}.PER_DATASET published"
    out, seeds = tmp_path / "results", (1, 2, 3)
    base = typed(f"{folder}/base2new_train.sh", "eurosat", "OPTIM.LR", "1")
    assert len(base) == 3
    for seed, line in zip(seeds, base):
        trained = out / f"base2new/train_base/eurosat/shots_16/{trainer}/vit_b16/seed{seed}"
        assert f"--trainer {trainer} --seed {seed} --output-dir {trained} " in line
        assert line.endswith(f"DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base TASK B2N {published} OPTIM.LR 1")
        trained.mkdir(parents=True)
        (trained / "result.json").write_text("{}")
    for seed, line in zip(seeds, typed(f"{folder}/base2new_test.sh", "eurosat")):
        tested = out / f"base2new/test_new/eurosat/shots_16/{trainer}/vit_b16/seed{seed}"
        assert f"--output-dir {tested} " in line
        assert line.endswith(f"SUBSAMPLE_CLASSES new TASK B2N {published}")
    few = typed(f"{folder}/few_shot.sh", "eurosat")
    assert len(few) == 15
    assert f"--output-dir {out}/few_shot/eurosat/shots_2/{trainer}/vit_b16_few_shot/seed1 " in few[1]
    assert few[1].endswith(f"DATASET.NUM_SHOTS 2 TASK FS {published}")
    assert "/vit_b16_imagenet/" in typed(f"{folder}/few_shot.sh", "imagenet")[0]
    for seed, line in zip(seeds, typed(f"{folder}/cross_datasets_train.sh")):
        trained = out / f"base2new/train_base/imagenet/shots_16/{trainer}/vit_b16_cross_datasets/seed{seed}"
        assert f"--output-dir {trained} " in line
        weight = " TRAINER.MMRL.REG_WEIGHT 0.2" if trainer == "MMRL" else ""
        assert line.endswith(f"DATASET.NUM_SHOTS 16 TASK CD {published}{weight}")
        trained.mkdir(parents=True)
        (trained / "result.json").write_text("{}")
    for line in typed(f"{folder}/cross_datasets_test.sh", "dtd"):
        assert f"--eval-only --model-dir {out}/base2new/train_base/imagenet/shots_16/{trainer}/" in line
        assert f"/test_new/dtd/shots_16/{trainer}/vit_b16_cross_datasets/" in line


@pytest.mark.parametrize(
    ("dataset", "config"),
    [
        ("eurosat", "vit_b16_c2_ep50_batch32_16ctx"),
        ("imagenet", "vit_b16_c2_ep40_batch128_16ctx"),
        ("ImageNet", "vit_b16_c2_ep40_batch128_16ctx"),
    ],
)
def test_scripts_of_hicropls_reference_train_and_test_with_one_config(dataset, config, typed, tmp_path):
    run = f"{dataset.lower()}/shots_16/HiCroPL/{config}/seed2"
    trained = tmp_path / "results/base2new/train_base" / run
    (line,) = typed("hicropl/base2new_train_hicropl.sh", dataset, 2)
    assert f"--trainer HiCroPL --seed 2 --output-dir {trained} " in line
    assert line.endswith("DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base")
    trained.mkdir(parents=True)
    (trained / "result.json").write_text("{}")
    (line,) = typed("hicropl/base2new_test_hicropl.sh", dataset, 2)
    assert f"--eval-only --model-dir {trained} " in line
    assert f"/configs/trainers/HiCroPL/{config}.yaml" in line


def test_scripts_of_hicropls_reference_have_its_configs_and_shots(typed):
    (few,) = typed("hicropl/few_shot.sh", "eurosat", 3, 8)
    assert "/HiCroPL/eval/vit_b16_c2_ep50_batch32_16ctx_few_shot_8shots/seed3 " in few
    (cross,) = typed("hicropl/xd_train.sh", "imagenet", 1)
    assert "/vit_b16_c2_ep5_batch32_2ctx_cross_datasets_16shots/seed1 " in cross


def test_script_of_taskres_reference(typed, tmp_path):
    (line,) = typed("taskres/main.sh", "eurosat", "adam_lr2e-3_B256_ep100", "none", 4, 0.5, "OPTIM.LR", "1")
    folder = f"{tmp_path}/results/eurosat/TaskRes/adam_lr2e-3_B256_ep100_4shots/base_none_scale0.5/seed1"
    assert f"--trainer TaskRes --seed 1 --output-dir {folder} " in line
    asked = "DATASET.NUM_SHOTS 4 TRAINER.TaskRes.ENHANCED_BASE none TRAINER.TaskRes.RESIDUAL_SCALE 0.5 OPTIM.LR 1"
    assert line.endswith(asked)


def test_script_of_clip_loras_reference(typed, tmp_path):
    """Its flags, its lists, its names of data sets and files; --eval_only takes what is there."""
    flags = ["--dataset", "fgvc", "--shots", 4, "--seed", 3, "--encoder", "vision", "--params", "q", "o", "--r", 4]
    more = ["--n_iters", 9, "--save_path", "kept", "--dropout_rate", 0, "DATALOADER.NUM_WORKERS", 0]
    train, export = typed("clip_lora/main.sh", *flags, *more)
    run = f"{tmp_path}/results/fgvc_aircraft/CLIPLoRA/vitb16_4shots/vision_qo_all_r4/seed3"
    assert f"--trainer CLIPLoRA --seed 3 --output-dir {run} " in train
    assert "/configs/datasets/fgvc_aircraft.yaml TRAINER.CLIPLORA.N_ITERS 9 DATASET.NUM_SHOTS 4 " in train
    assert "DATASET.VAL_FIRST True MODEL.BACKBONE.NAME ViT-B/16 TRAINER.CLIPLORA.ENCODER vision " in train
    asked = "PARAMS q o TRAINER.CLIPLORA.POSITION all TRAINER.CLIPLORA.R 4 TRAINER.CLIPLORA.ALPHA 1 "
    assert train.endswith(f"TRAINER.CLIPLORA.{asked}TRAINER.CLIPLORA.DROPOUT 0 DATALOADER.NUM_WORKERS 0")
    file = tmp_path / "kept/vitb16/fgvc/4shots/seed3/lora_weights.pt"
    assert export == f"modprompt export {run} --to lora --out {file}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("additions")
    (test,) = typed("clip_lora/main.sh", "--eval_only", *flags, *more)
    assert f"--output-dir {run}/evaluated " in test
    assert f"--eval-only --model-dir {run}/given " in test
    assert (tmp_path / f"{run}/given/prompt_learner/model.pth.tar-0").read_text() == "additions"


@pytest.mark.parametrize(("mode", "where"), [("none", ""), ("AS", ""), ("AE", ""), ("AS", "phrases"), ("AE", "/there")])
def test_script_of_pcbs_reference(mode, where, typed, tmp_path):
    (line,) = typed("alvlm/main.sh", "eurosat", "rn50", "badge", 3, mode, "ACTIVE.ROUNDS", 2, DESCRIPTORS=where)
    folder = f"{tmp_path}/results/eurosat/ALVLM/rn50_-1shots/nctx16_cscTrue_ctpend_albadge_mode{mode}/seed3"
    config = ROOT / "configs/trainers/ALVLM/rn50.yaml"
    assert config.is_file()
    assert f"--once --root {ROOT}/data --trainer ALVLM --seed 3 --output-dir {folder} --config-file {config} " in line
    name = {"": "eurosat.json", "phrases": f"{tmp_path}/phrases/descriptors_eurosat.json"}.get(where)
    name = name or f"{where}/descriptors_eurosat.json"
    phrases = "" if mode == "none" else f"TRAINER.COOPAL.{mode}PATH {name} "
    assert line.endswith(
        "eurosat.yaml TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC True TRAINER.COOP.CLASS_TOKEN_POSITION end "
        f"DATASET.NUM_SHOTS -1 TRAINER.COOPAL.METHOD badge TRAINER.COOPAL.GAMMA 0.1 {phrases}ACTIVE.ROUNDS 2"
    )


@pytest.mark.parametrize("mode", ["as", "", "None", "AS AE"])
def test_script_of_pcbs_reference_refuses_another_mode(mode):
    words = ["bash", str(ROOT / "scripts/alvlm/main.sh"), "eurosat", "rn50", "badge", "1", mode]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: scripts/alvlm/main.sh: MODE must be none, AS or AE, got '{mode}'\n"


def test_published_weights_are_tested_on_both_halves(typed, tmp_path):
    base, new = typed("maple/reproduce_maple.sh", "eurosat", 2, "weights/eurosat", 5)
    for half, line in (("base", base), ("new", new)):
        assert f"--model-dir {tmp_path}/weights/eurosat/base/seed2 --load-epoch 5 " in line
        assert line.endswith(f"DATASET.SUBSAMPLE_CLASSES {half}")
    (line,) = typed("maple/reproduce_maple_xd.sh", "dtd", 1, "weights")
    assert line.endswith(f"--model-dir {tmp_path}/weights/seed1")


SEARCH, STAGED = "vit_b16_c6_ep80_batch4", "vit_b16_ep40_batch4-DPLSearch_vit_b16_c6_ep80_batch4"


@pytest.mark.parametrize(
    ("script", "searched", "trained"),
    [
        (
            "base2new_train.sh",
            f"search/base2new/train_base/eurosat/shots_16/DPLSearch/{SEARCH}/seed1",
            f"base2new/train_base/eurosat/shots_16/DPL/{STAGED}/seed1",
        ),
        (
            "few_shot.sh",
            f"search/eurosat/DPLSearch/eval/{SEARCH}_16shots/seed1",
            f"eurosat/DPL/eval/{STAGED}_16shots/seed1",
        ),
        (
            "xd_train.sh",
            f"search/crossdataset/eurosat/DPLSearch/{SEARCH}_16shots/seed1",
            f"crossdataset/eurosat/DPL/{STAGED}_16shots/seed1",
        ),
    ],
)
def test_dpl_searches_on_the_same_classes_and_then_trains_the_schedule(typed, tmp_path, script, searched, trained):
    search, train = typed(f"dpl/{script}", "eurosat", 1, *([] if script == "few_shot.sh" else [3]), "OPTIM.LR", "1")
    out = tmp_path / "results"
    assert (
        f"--once --root {ROOT}/data --trainer DPLSearch --seed 1 --output-dir {out}/{searched} --config-file " in search
    )
    assert f"--trainer DPL --seed 1 --output-dir {out}/{trained} --config-file " in train
    protocol = "DATASET.NUM_SHOTS 16" + (" DATASET.SUBSAMPLE_CLASSES base" if "base2new" in script else "")
    epochs = "" if script == "few_shot.sh" else " OPTIM.MAX_EPOCH 3"
    at = f"@{out}/{searched}/schedule.json"
    assert search.endswith(f"eurosat.yaml {protocol} OPTIM.LR 1")  # EPOCHS are those of the training
    assert train.endswith(
        f"eurosat.yaml {protocol}{epochs} OPTIM.LR 1 TRAINER.DPL.SCHEDULE_TEXT {at} TRAINER.DPL.SCHEDULE_VISION {at}"
    )
    for line, config in ((search, f"DPLSearch/{SEARCH}"), (train, "DPL/vit_b16_ep40_batch4")):
        assert f"--config-file {ROOT}/configs/trainers/{config}.yaml " in line
        assert (ROOT / "configs" / "trainers" / f"{config}.yaml").is_file()


@pytest.mark.slow
def test_dpl_searches_trains_and_tests_once(bash, clip_file, tmp_path):
    words = ("eurosat", 1, *bare(clip_file), "OPTIM.MAX_EPOCH", "1")
    own = {"SEARCH_CFG": "./only_for_tests.yaml"}
    search = bash("dpl/search.sh", *words, **own)
    assert search.returncode == 0, search.stdout
    folder = "base2new/train_base/eurosat/shots_2/{}/seed1"
    searched = tmp_path / "results/search" / folder.format("DPLSearch/only_for_tests")
    assert (searched / "schedule.json").is_file()
    train = bash("dpl/base2new_train.sh", *words, **own)
    assert train.returncode == 0, train.stdout
    assert train.stdout.count("\nFinished before: ") == 1  # the search
    trained = tmp_path / "results" / folder.format("DPL/only_for_tests-DPLSearch_only_for_tests")
    settings = json.loads((trained / "result.json").read_text())["settings"]
    steps = json.loads((searched / "schedule.json").read_text())["text"]["steps"]
    assert settings["TRAINER.DPL.SCHEDULE_TEXT"] == str(steps)
    assert bash("dpl/base2new_train.sh", *words, **own).stdout.count("\nFinished before: ") == 2
    test = bash("dpl/base2new_test.sh", "eurosat", 1, *bare(clip_file), **own)
    assert test.returncode == 0, test.stdout


def test_dpl_searches_alone_and_with_configs_of_ones_own(typed, tmp_path):
    (alone,) = typed("dpl/search.sh", "eurosat", 1)
    assert alone == typed("dpl/base2new_train.sh", "eurosat", 1)[0]
    search, train = typed("dpl/base2new_train.sh", "digits", 1, CFG="glyph", SEARCH_CFG="./mine.yaml")
    assert f"/DPLSearch/mine/seed1 --config-file {tmp_path}/./mine.yaml " in search
    assert f"/DPL/glyph-DPLSearch_mine/seed1 --config-file {ROOT}/configs/trainers/DPL/glyph.yaml " in train


def test_dpl_is_tested_under_the_schedule_that_it_was_trained_with(typed, tmp_path):
    run = f"eurosat/shots_16/DPL/{STAGED}/seed1"
    trained = tmp_path / "results/base2new/train_base" / run
    trained.mkdir(parents=True)
    (trained / "result.json").write_text("{}")
    (line,) = typed("dpl/base2new_test.sh", "eurosat", 1)
    at = f"@{tmp_path}/results/search/base2new/train_base/eurosat/shots_16/DPLSearch/{SEARCH}/seed1/schedule.json"
    assert f"--eval-only --model-dir {trained} " in line
    assert line.endswith(f"TRAINER.DPL.SCHEDULE_TEXT {at} TRAINER.DPL.SCHEDULE_VISION {at}")


def test_search_in_the_environment_makes_no_method_search(typed):
    assert len(typed("mpl/base2new_train.sh", "eurosat", 1, SEARCH="DPLSearch", SEARCH_CFG="glyph")) == 1


def test_launch_scripts_of_dpls_reference(typed, tmp_path):
    (line,) = typed("trainersupernet/launch_nas.sh", "EuroSAT", "here", 2, 8, "OPTIM.LR", "1")
    assert (
        f"--once --root {ROOT}/data --trainer TrainerSupernet --seed 2 --output-dir {tmp_path}/here --config-file "
        in line
    )
    assert line.endswith(
        f"TrainerSupernet/fewshot.yaml --dataset-config-file {ROOT}/configs/datasets/eurosat.yaml "
        "DATASET.NUM_SHOTS 8 DATASET.SUBSAMPLE_CLASSES all OPTIM.LR 1"
    )
    (line,) = typed("trainersubnet/launch_train.sh", "DescribableTextures", "/there", "img.npy", "/txt.npy", 1, 16)
    assert "--trainer TrainerSubnet --seed 1 --output-dir /there --config-file " in line
    assert line.endswith(
        f"TrainerSubnet/fewshot.yaml --dataset-config-file {ROOT}/configs/datasets/dtd.yaml "
        "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES all "
        f"TRAINER.TRAINERSUBNET.IMG_ALPHA_PATH {tmp_path}/img.npy TRAINER.TRAINERSUBNET.TXT_ALPHA_PATH /txt.npy"
    )


@pytest.mark.parametrize("name", ["EuroSAT,OxfordPets", "ImageNet.", ""])
def test_launch_script_takes_names_of_data_sets_alone(bash, name):
    done = bash("trainersupernet/launch_nas.sh", name, "out", 1, 16)
    assert done.returncode == 2
    assert done.stdout.startswith(f"error: there is no data set {name!r}")
    assert done.stdout.count("\n") == 1


def test_ensemble_is_asked_for_by_name(typed):
    assert all(
        "--trainer ZeroshotCLIP2 " in line for line in typed("zsclip/base2new.sh", "dtd", 1, TRAINER="ZeroshotCLIP2")
    )


def test_promptsrcs_two_numbers_are_shots_for_three_seeds(typed):
    lines = typed("promptsrc/few_shot.sh", "imagenet", 4)
    assert [f"--seed {seed} " in line and "NUM_SHOTS 4" in line for seed, line in enumerate(lines, 1)] == [True] * 3
    (line,) = typed("promptsrc/few_shot.sh", "imagenet", 2, 8)
    assert "--seed 2 " in line
    assert "NUM_SHOTS 8" in line
    lines = typed("promptsrc/reproduce_few_shot.sh", "dtd", 4, "weights", 50)
    assert ["/weights/4shot/seed" in line and "--load-epoch 50 " in line for line in lines] == [True] * 3


def test_mpls_dev_scripts(typed, tmp_path):
    (line,) = typed("mpl/dev_train.sh", "dtd", 1, 3)
    assert "/results/dtd/MPL/eval/vit_b4_c1_add2_rm1_16shots/seed1 " in line
    assert line.endswith("DATASET.NUM_SHOTS 16 OPTIM.MAX_EPOCH 3")
    (line,) = typed("mpl/dev_test.sh", "dtd", 1, 3)
    assert f"--model-dir {tmp_path}/results/dtd/MPL/eval/vit_b4_c1_add2_rm1_16shots/seed1 --load-epoch 3 " in line


def test_trainer_of_the_environment_counts_for_zero_shot_alone(typed):
    (line,) = typed("zsclip/zeroshot.sh", "dtd", TRAINER="ZeroshotCLIP2")
    assert "--trainer ZeroshotCLIP2 " in line
    assert all("--trainer ZeroshotCLIP " in line for line in typed("zsclip/base2new.sh", "dtd", 1, TRAINER="CoOp"))
    assert all("--trainer MaPLe " in line for line in typed("maple/base2new_train.sh", "dtd", 1, TRAINER="CoOp"))


@pytest.mark.slow
def test_result_of_another_model_is_not_taken_for_this_one(bash, clip_file):
    """Published weights, then one's own, in the same folders: each is tested."""
    assert bash("mpl/base2new_train.sh", "eurosat", 1, *options(clip_file)).returncode == 0
    backbone = bare(clip_file)
    assert "=> result" in bash("mpl/base2new_test.sh", "eurosat", 1, *backbone).stdout
    assert "\nFinished before: " in "\n" + bash("mpl/base2new_test.sh", "eurosat", 1, *backbone).stdout
    assert bash("mpl/base2new_test.sh", "eurosat", 1, 9, *backbone).returncode == 2  # there is no epoch 9


def test_link_without_a_protocol_is_refused(tmp_path):
    folder = tmp_path / "scripts" / "mpl"
    folder.mkdir(parents=True)
    (folder / "nonsense.sh").symlink_to(ROOT / "scripts" / "run.sh")
    done = subprocess.run(["bash", str(folder / "nonsense.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no scripts/protocols/nonsense.sh" in done.stderr


def test_table_of_the_paper_is_an_experiment(typed, tmp_path):
    (line,) = typed("mpl/reproduce.sh", "--methods", "CLIP", "MPL", DATA="data")
    assert line == (
        f"experiments.run base2new --present --report --data {tmp_path}/data --out {tmp_path}/results --methods CLIP MPL"
    )


@pytest.mark.slow
def test_table_of_the_paper_is_over_the_data_sets_that_are_there(bash):
    done = bash("mpl/reproduce.sh", "--dry-run")
    assert done.returncode == 0, done.stdout
    assert "caltech101, dtd, fgvc_aircraft" in done.stdout.splitlines()[0]
    assert (
        done.stdout.splitlines()[-1] == "# 231 of 231 runs would start, 0 are finished"
    )  # 25 methods x 3 seeds x 3, DPL's 3 searches, CLIP x 3


def test_demo_is_an_experiment_and_images_of_ones_own(typed, tmp_path):
    own = tmp_path / "results" / "own_images"
    lines = typed("demo.sh", JOBS="3", OUT=str(tmp_path / "results"))
    assert [line for line in lines if line.startswith(("modprompt", "tools"))] == [
        "modprompt experiment run demo --report --one-line --jobs 3",
        f"tools.digit_photos {own}",
        f"modprompt experiment run own_images --data {own}/images --out {own}/output --report --one-line --jobs 3",
        f"modprompt predict {own}/output/image_folder/MPL/eval/*_16shots/seed1 {own}/new --top 1",
    ]


@pytest.mark.parametrize("python", ["no_such_python", "without_torch"])
def test_interpreter_without_pytorch_is_named_in_one_line(bash, tmp_path, python):
    (tmp_path / "without_torch").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "without_torch").chmod(0o755)
    done = bash("mpl/base2new_train.sh", "eurosat", 1, PYTHON=str(tmp_path / python))
    assert done.returncode == 2
    assert done.stdout.startswith(
        f"error: {tmp_path / python} has no PyTorch: activate the environment, or give PYTHON="
    )
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("base", "config"),
    [
        ("CoCoOp", "vit_b16_c4_ep10_batch1_ctxv1"),
        ("KgCoOp", "vit_b16_ep10_ctxv1_bs4_lr35"),
        ("MaPLe", "vit_b16_c2_ep10_batch4_2ctx"),
    ],
)
def test_scripts_of_dept_take_its_trainers_by_name(base, config, typed):
    trainer = f"ExtrasLinearProbe{base}"
    (train,) = typed("dept/base2new_train.sh", "eurosat", 1, TRAINER=trainer)
    assert f"--trainer {trainer} " in train
    assert f"configs/trainers/{trainer}/{config}.yaml" in train


@pytest.mark.parametrize(
    ("base", "script", "config"),
    [
        ("CoCoOp", "base2new_train", "vit_b32_c4_ep10_batch1_ctxv1"),
        ("VPT", "xd_train", "vit_b32_c2_ep5_batch4_4"),
        ("MaPLe", "base2new_train", "vit_b32_c2_ep5_batch4_2ctx"),
        ("PromptSRC", "base2new_train", "vit_b32_c2_ep20_batch4_4+4ctx"),
        ("PromptSRC", "xd_train", "vit_b32_c2_ep20_batch4_4+4ctx_cross_datasets"),
    ],
)
def test_scripts_of_kdpl_are_of_a_method_by_name_in_folders_of_their_own(base, script, config, typed):
    for given in ([], [config]):
        (train,) = typed(f"kdpl/{script}.sh", "eurosat", 1, *given, TRAINER=base)
        assert f"--trainer {base} " in train
        assert f"configs/trainers/{base}_KDPL/{config}.yaml" in train
        assert f"/{base}/{config}-KDPL" in train


@pytest.mark.parametrize(
    ("script", "dataset", "env", "folder", "words"),
    [
        (
            "base2new_train",
            "eurosat",
            {},
            "base2new/train_base/eurosat/shots_0/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed_2",
            "DATASET.NUM_SHOTS 0 DATASET.SUBSAMPLE_CLASSES all TRAINER.MODAL base2novel TRAINER.PROMPTKD.TEMPERATURE 1.0 "
            "TRAINER.PROMPTKD.KD_WEIGHT 1000.0",
        ),
        (
            "base2new_train",
            "dtd",
            {"TEACHER": "runs/mine"},
            "base2new/train_base/dtd/shots_0/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed_2",
            "KD_WEIGHT 200.0 TRAINER.PROMPTKD.TEACHER_CKPT runs/mine",
        ),
        (
            "xd_train",
            "dtd",
            {},
            "dtd/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets_0shots/seed2",
            "TRAINER.MODAL cross TRAINER.PROMPTKD.TEMPERATURE 1.0 TRAINER.PROMPTKD.KD_WEIGHT 1000.0",
        ),
        (
            "teacher_train",
            "dtd",
            {},
            "base2new/train_base/dtd/shots_16/PromptSRC/vit_l14_c2_ep20_batch8_4+4ctx/seed2",
            "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES base",
        ),
        (
            "teacher_train",
            "imagenet",
            {"MODAL": "cross"},
            "imagenet/PromptSRC/vit_l14_c2_ep20_batch8_4+4ctx_16shots/seed2",
            "DATASET.NUM_SHOTS 16 DATASET.SUBSAMPLE_CLASSES all",
        ),
    ],
)
def test_scripts_of_promptkd(script, dataset, env, folder, words, typed):
    (line,) = typed(f"promptkd/{script}.sh", dataset, 2, **env)
    assert f"/results/{folder} " in line
    assert line.endswith(words)
