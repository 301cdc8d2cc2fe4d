"""Objects of several frames made in code, valid by dciodvfy: enhanced CT and MR, plain XA, ultrasound, captures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileMetaDataset, uid

__all__ = ["enhanced", "plain"]

UID = "1.2.826.0.1.3680043.8.498.77"


def item(**elements: Any) -> Dataset:
    """A data set of elements by keyword."""
    found = Dataset()
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def coded(value: str, scheme: str, meaning: str) -> list[Dataset]:
    """A sequence of one code."""
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def base(array: Any, of_class: str, modality: str, bits: int) -> Dataset:
    """Patient, study, series, equipment and pixels of (F, H, W) or (F, H, W, 3)."""
    data = item(
        SOPClassUID=of_class,
        SOPInstanceUID=f"{UID}.1",
        ImageType=["ORIGINAL", "PRIMARY"],
        StudyDate="20200102",
        StudyTime="030405",
        ContentDate="20200102",
        ContentTime="030406",
        AccessionNumber="",
        Modality=modality,
        Manufacturer="Maker",
        ReferringPhysicianName="",
        PatientName="Frames^Made",
        PatientID="F1",
        PatientBirthDate="19700101",
        PatientSex="O",
        StudyInstanceUID=f"{UID}.2",
        SeriesInstanceUID=f"{UID}.3",
        StudyID="1",
        Laterality="",
        PatientOrientation="",
        SeriesNumber=1,
        InstanceNumber=1,
        SamplesPerPixel=3 if array.ndim == 4 else 1,
        PhotometricInterpretation="RGB" if array.ndim == 4 else "MONOCHROME2",
        NumberOfFrames=len(array),
        Rows=array.shape[1],
        Columns=array.shape[2],
        BitsAllocated=8 * array.dtype.itemsize,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(array.dtype.kind == "i"),
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
    )
    if array.ndim == 4:
        data.PlanarConfiguration = 0
    pixels = array.astype(array.dtype.newbyteorder("<")).tobytes()
    data.PixelData = pixels + b"\0" * (len(pixels) % 2)
    data["PixelData"].VR = "OW" if array.dtype.itemsize > 1 else "OB"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = of_class, data.SOPInstanceUID
    return data


def enhanced(
    path: Path,
    array: Any,
    *,
    rescales: Sequence[tuple[float, float]],
    windows: Sequence[tuple[float, float]],
    bits: int = 12,
    magnetic: bool = False,
    function: str = "",
    **elements: Any,
) -> Path:
    """Write an enhanced CT, or MR, of frames (F, H, W) that each have a rescale (slope, intercept) and a window."""
    of_class, modality = (uid.EnhancedMRImageStorage, "MR") if magnetic else (uid.EnhancedCTImageStorage, "CT")
    data = base(array, of_class, modality, bits)
    kind = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    common = {
        "FrameType": kind,
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    data.update(item(
        ImageType=kind,
        AcquisitionDateTime="20200102030405",
        AcquisitionDuration=1.0,
        AcquisitionNumber=1,
        ManufacturerModelName="Model",
        DeviceSerialNumber="7",
        SoftwareVersions="1",
        ContentQualification="RESEARCH",
        FrameOfReferenceUID=f"{UID}.4",
        PositionReferenceIndicator="",
        PatientPosition="HFS",
        PresentationLUTShape="IDENTITY",
        AcquisitionContextSequence=[],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=f"{UID}.5")],
        DimensionIndexSequence=[
            item(
                DimensionOrganizationUID=f"{UID}.5",
                DimensionIndexPointer=0x00209057,
                FunctionalGroupPointer=0x00209111,
            )
        ],
    ))  # fmt: skip
    anatomy = coded("T-D3000", "SRT", "Chest")
    shared = item(
        FrameAnatomySequence=[item(AnatomicRegionSequence=anatomy, FrameLaterality="U")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(SliceThickness=2, PixelSpacing=[0.8, 0.5])],
    )
    if magnetic:
        _magnetic(data, shared, common)
    else:
        shared.CTImageFrameTypeSequence = [item(**common)]
        _computed(data, shared)
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[
                item(
                    FrameReferenceDateTime="20200102030405",
                    FrameAcquisitionDateTime="20200102030405",
                    FrameAcquisitionDuration=1.0,
                    FrameAcquisitionNumber=1,
                    StackID="1",
                    InStackPositionNumber=at + 1,
                    DimensionIndexValues=[at + 1],
                )
            ],
            PlanePositionSequence=[item(ImagePositionPatient=[10, 20, 30 + 2 * at])],
            PixelValueTransformationSequence=[
                item(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="US" if magnetic else "HU")
            ],
            FrameVOILUTSequence=[
                item(WindowCenter=centre, WindowWidth=width, **({"VOILUTFunction": function} if function else {}))
            ],
        )
        for at, ((slope, intercept), (centre, width)) in enumerate(zip(rescales, windows, strict=True))
    ]
    del data.Laterality, data.PatientOrientation
    data.update(item(**elements))
    data.save_as(path, enforce_file_format=True)
    return path


def _computed(data: Dataset, shared: Dataset) -> None:
    shared.IrradiationEventIdentificationSequence = [item(IrradiationEventUID=f"{UID}.6")]
    shared.CTAcquisitionTypeSequence = [
        item(AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO")
    ]
    shared.CTAcquisitionDetailsSequence = [
        item(
            RotationDirection="CW",
            RevolutionTime=1.0,
            SingleCollimationWidth=1.0,
            TotalCollimationWidth=4.0,
            TableHeight=100.0,
            GantryDetectorTilt=0.0,
            DataCollectionDiameter=500.0,
        )
    ]
    shared.CTTableDynamicsSequence = [item()]
    shared.CTPositionSequence = [
        item(
            TablePosition=0.0,
            DataCollectionCenterPatient=[0.0, 0.0, 0.0],
            ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
        )
    ]
    shared.CTGeometrySequence = [item(DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=500.0)]
    shared.CTReconstructionSequence = [
        item(
            ReconstructionAlgorithm="FILTER_BACK_PROJ",
            ConvolutionKernel="K",
            ConvolutionKernelGroup="SOFT_TISSUE",
            ReconstructionDiameter=400.0,
            ReconstructionPixelSpacing=[0.8, 0.5],
            ReconstructionAngle=360.0,
            ImageFilter="NONE",
        )
    ]
    shared.CTExposureSequence = [
        item(
            ExposureTimeInms=100.0,
            XRayTubeCurrentInmA=100.0,
            ExposureInmAs=10.0,
            ExposureModulationType="NONE",
            CTDIvol=1.0,
        )
    ]
    shared.CTXRayDetailsSequence = [
        item(
            KVP=120, FocalSpots=[1.0], FilterType="NONE", FilterMaterial="ALUMINUM", CalciumScoringMassFactorPatient=1.0
        )
    ]


def _magnetic(data: Dataset, shared: Dataset, common: dict[str, Any]) -> None:
    complex = {"ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "T1"}
    data.update(item(**complex))
    shared.MRImageFrameTypeSequence = [item(**common, **complex)]
    no = dict.fromkeys(
        (
            "MultipleSpinEcho",
            "MultiPlanarExcitation",
            "PhaseContrast",
            "TimeOfFlightContrast",
            "EchoPlanarPulseSequence",
        ),
        "NO",
    )
    data.update(
        item(
            ResonantNucleus="1H",
            KSpaceFiltering="NONE",
            MagneticFieldStrength=1.5,
            ApplicableSafetyStandardAgency="IEC",
            PulseSequenceName="SE",
            MRAcquisitionType="2D",
            EchoPulseSequence="SPIN",
            SteadyStatePulseSequence="NONE",
            SaturationRecovery="NO",
            SpectrallySelectedSuppression="NONE",
            OversamplingPhase="NONE",
            GeometryOfKSpaceTraversal="RECTILINEAR",
            RectilinearPhaseEncodeReordering="LINEAR",
            SegmentedKSpaceTraversal="SINGLE",
            NumberOfKSpaceTrajectories=1,
            BulkMotionCompensationTechnique="NONE",
            **no,
        )
    )
    modified = {"InversionRecovery": "NO", "FlowCompensation": "NONE", "Spoiling": "NONE", "T2Preparation": "NO"}
    shared.MRTimingAndRelatedParametersSequence = [
        item(
            RepetitionTime=500,
            FlipAngle=90,
            EchoTrainLength=1,
            RFEchoTrainLength=1,
            GradientEchoTrainLength=0,
            GradientOutputType="DB_DT",
            GradientOutput=1.0,
            SpecificAbsorptionRateSequence=[
                item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0)
            ],
            OperatingModeSequence=[item(OperatingModeType="STATIC FIELD", OperatingMode="IEC_NORMAL")],
        )
    ]
    shared.MREchoSequence = [item(EffectiveEchoTime=10.0)]
    shared.MRModifierSequence = [
        item(
            **modified,
            SpectrallySelectedExcitation="NONE",
            SpatialPresaturation="NONE",
            PartialFourier="NO",
            ParallelAcquisition="NO",
        )
    ]
    shared.MRImagingModifierSequence = [
        item(
            MagnetizationTransfer="NONE",
            BloodSignalNulling="NO",
            Tagging="NONE",
            TransmitterFrequency=63.0,
            PixelBandwidth=100.0,
        )
    ]
    shared.MRReceiveCoilSequence = [
        item(
            ReceiveCoilName="BODY", ReceiveCoilManufacturerName="", ReceiveCoilType="BODY", QuadratureReceiveCoil="YES"
        )
    ]
    shared.MRTransmitCoilSequence = [
        item(TransmitCoilName="BODY", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    ]
    shared.MRAveragesSequence = [item(NumberOfAverages=1)]
    shared.MRFOVGeometrySequence = [
        item(
            InPlanePhaseEncodingDirection="ROW",
            MRAcquisitionFrequencyEncodingSteps=8,
            MRAcquisitionPhaseEncodingStepsInPlane=6,
            MRAcquisitionPhaseEncodingStepsOutOfPlane=1,
            PercentSampling=100,
            PercentPhaseFieldOfView=100,
        )
    ]


def plain(path: Path, array: Any, of_class: str, modality: str, bits: int, **elements: Any) -> Path:
    """Write frames (F, H, W) or (F, H, W, 3) whose elements hold for all of them."""
    data = base(array, of_class, modality, bits)
    data.update(item(**elements))
    data.save_as(path, enforce_file_format=True)
    return path
